"""Spans: their provider, sampling, and where they come from."""
