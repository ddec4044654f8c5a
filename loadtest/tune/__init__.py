"""`make tune`: batch sizes, delays and compressions under the same load, and which to use."""
