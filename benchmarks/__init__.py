"""Benchmarks of the export engine against the stock one."""
