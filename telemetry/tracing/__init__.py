"""Spans: their provider, sampling and sources."""
