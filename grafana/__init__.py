"""Grafana's configuration, and the Python that its dashboards are generated from."""
