"""Commands for whoever operates a service: `python -m telemetry …`."""
