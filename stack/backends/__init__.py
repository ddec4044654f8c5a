"""The query APIs of Prometheus and Jaeger: each with a client for threads and one for an event loop."""
