"""`make tune`: compares batch sizes, delays and compressions under the same load, and recommends one."""
