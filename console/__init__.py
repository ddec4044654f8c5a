"""The page that shows the pipeline live: services, breaker, Collector, Jaeger, second by second."""
