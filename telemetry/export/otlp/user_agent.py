"""The User-Agent of exports, by which a Collector's or gateway's operator sees who sends them."""

_VERSION = "0.1.0"
"""As in `pyproject.toml`: a folder that was copied into an application has no metadata to ask."""
USER_AGENT = f"OTel-OTLP-Exporter-Python-telemetry/{_VERSION}"
"""Names exporter, language and version (OTLP exporter specification, "User Agent")."""


def user_agent(configured: str | None = None) -> str:
    """Returns the User-Agent for both transports.

    Args:
        configured: an application's own, from the export headers. It is a product identifier, and goes in
            front of ours, which stays (OTLP exporter specification, "User Agent").
    """
    return f"{configured.strip()} {USER_AGENT}" if configured and configured.strip() else USER_AGENT
