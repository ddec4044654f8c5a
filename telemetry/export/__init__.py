"""Spans out of the process, whatever happens to the Collector. Knows nothing of FastAPI."""
