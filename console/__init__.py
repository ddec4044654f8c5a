"""The console: web pages with the live pipeline, traces, dashboards and the doctor's findings."""
