"""Synchronous and asynchronous clients for the query APIs of Prometheus and Jaeger."""
