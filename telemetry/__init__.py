"""Traces and metrics for FastAPI that survive their Collector.

Start with `telemetry.telemetry.setup_telemetry`; importing this package does nothing.
"""
