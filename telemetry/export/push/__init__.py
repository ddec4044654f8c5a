"""Metrics pushed over OTLP."""
