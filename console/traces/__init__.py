"""Traces from Jaeger: search, and one trace as a waterfall."""
