"""Grafana's dashboards, drawn from the same files with data from Prometheus."""
