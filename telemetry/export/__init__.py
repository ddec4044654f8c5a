"""Exports spans from the process, whatever happens to the Collector. Independent of FastAPI."""
