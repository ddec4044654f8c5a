"""The parts of the stack: their purposes, addresses, ports and health checks."""

from collections.abc import Collection
from dataclasses import dataclass

from stack.services import SERVICES, Service
from stack.settings import HOST, StackSettings


@dataclass(frozen=True, slots=True)
class Part:
    """One program of the stack, in either runtime."""

    name: str
    purpose: str
    address: str
    """Its address for users."""
    health_url: str
    """Answers 200 if the part can do its work."""
    ports: dict[str, int]
    """Every port that it listens on, by the variable that sets it."""


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A part, or a part's web pages, that a runtime lacks, and why."""

    name: str
    why: str


def parts_of(settings: StackSettings, *, with_pages: Collection[str]) -> tuple[Part, ...]:
    """Returns the parts that every runtime has, in the order in which they are shown.

    Args:
        settings: the settings with their ports.
        with_pages: which of Jaeger and Prometheus have web pages; otherwise the address is that of an API.
    """
    jaeger = "" if "jaeger" in with_pages else "/api/v3/services"
    prometheus = "" if "prometheus" in with_pages else "/api/v1/targets"
    return (
        *(_service_part(service, settings) for service in SERVICES),
        Part(
            "collector",
            "receives, counts and passes on spans (OTLP)",
            f"{HOST}:{settings.otlp_grpc_port} (gRPC), {settings.otlp_http_port} (HTTP)",
            f"http://{HOST}:{settings.collector_health_port}/",
            {
                "OTLP_GRPC_PORT": settings.otlp_grpc_port,
                "OTLP_HTTP_PORT": settings.otlp_http_port,
                "COLLECTOR_HEALTH_PORT": settings.collector_health_port,
                "COLLECTOR_METRICS_PORT": settings.collector_metrics_port,
                "SPAN_METRICS_PORT": settings.span_metrics_port,
            },
        ),
        Part(
            "jaeger",
            "stores traces and answers for them",
            f"http://{HOST}:{settings.jaeger_port}{jaeger}",
            f"http://{HOST}:{settings.jaeger_health_port}/status",
            {
                "JAEGER_PORT": settings.jaeger_port,
                "JAEGER_GRPC_PORT": settings.jaeger_grpc_port,
                "JAEGER_OTLP_GRPC_PORT": settings.jaeger_otlp_grpc_port,
                "JAEGER_OTLP_HTTP_PORT": settings.jaeger_otlp_http_port,
                "JAEGER_HEALTH_PORT": settings.jaeger_health_port,
                "JAEGER_METRICS_PORT": settings.jaeger_metrics_port,
            },
        ),
        Part(
            "prometheus",
            "scrapes and stores every metric",
            f"http://{HOST}:{settings.prometheus_port}{prometheus}",
            f"http://{HOST}:{settings.prometheus_port}/-/ready",
            {"PROMETHEUS_PORT": settings.prometheus_port},
        ),
    )


def _service_part(service: Service, settings: StackSettings) -> Part:
    url = service.url(settings)
    ports = {service.port_variable: service.port(settings)}
    return Part(service.name, service.purpose, f"{url}/docs", f"{url}/healthz", ports)


@dataclass(frozen=True, slots=True)
class SlowLink:
    """Toxiproxy between services and Collector; the code that injects a fault starts and configures it."""

    api_url: str
    """The proxy's HTTP API, as seen from this machine."""
    listen: str
    """The listen address, as seen from the proxy."""
    upstream: str
    """The Collector's address, as seen from the proxy."""
    endpoint: str
    """The `OTEL_EXPORTER_OTLP_ENDPOINT` of a service that sends through the proxy."""


def toxiproxy_part(settings: StackSettings) -> Part:
    """Returns the slow link's part, which `up` does not start."""
    return Part(
        "toxiproxy",
        "a slow link between services and Collector, while one is asked for",
        f"http://{HOST}:{settings.toxiproxy_port}/proxies",
        f"http://{HOST}:{settings.toxiproxy_port}/version",
        {"TOXIPROXY_PORT": settings.toxiproxy_port, "OTLP_PROXY_PORT": settings.otlp_proxy_port},
    )


def grafana_part(settings: StackSettings) -> Part:
    """Returns Grafana's part, for runs that have an image of it or a release for this machine."""
    return Part(
        "grafana",
        "dashboards over both, with links to traces",
        f"http://{HOST}:{settings.grafana_port}",
        f"http://{HOST}:{settings.grafana_port}/api/health",
        {"GRAFANA_PORT": settings.grafana_port},
    )
