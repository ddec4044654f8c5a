"""Benchmarks: the export engine, a request and the import beside the stock packages and the rivals."""
