"""Settings of the service as a whole: its name, and what is on."""

from pathlib import Path

from .declaration import Settings, setting
from .values import Names, Pairs, StandardBoolean


class ServiceSettings(Settings):
    """What the service is called, and which of its telemetry is on. Read as `TelemetryConfig`."""

    service_name: str = setting("unknown_service", "OTEL_SERVICE_NAME", "SERVICE_NAME", min_length=1)
    """The service's name, as traces and dashboards show it."""
    service_version: str = setting("0.0.0", "SERVICE_VERSION", min_length=1)
    """The service's version."""
    environment: str = setting("development", "ENVIRONMENT", min_length=1)
    """Production, staging or development; chooses the preset."""
    resource_attributes: Pairs = setting({}, "OTEL_RESOURCE_ATTRIBUTES")
    """Further resource attributes, as key=value,key2=value2."""
    sdk_disabled: StandardBoolean = setting(False, "OTEL_SDK_DISABLED")
    """`true`: no span is made, nothing is sent."""
    enable_prometheus: bool = setting(True, "ENABLE_PROMETHEUS")
    """`true`: the app serves /metrics."""
    multiproc_dir: Path | None = setting(None, "PROMETHEUS_MULTIPROC_DIR")
    """Folder that several workers share, so that each one's /metrics shows all of them."""
    disabled_instrumentations: Names = setting((), "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    """Instrumentations to leave off, by name, or `*` for all: httpx,sqlalchemy,logging."""

    def is_disabled(self, instrumentation: str) -> bool:
        """Returns whether an instrumentation is to be left off."""
        return not {instrumentation, "*"}.isdisjoint(self.disabled_instrumentations)
