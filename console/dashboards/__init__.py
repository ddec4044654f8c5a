"""Grafana's dashboards, drawn from the same files through Prometheus."""
