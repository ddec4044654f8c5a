"""The parts of the stack: what each is for, where it listens, and how it says that it is well."""

from collections.abc import Collection
from dataclasses import dataclass

from stack.services import SERVICES, Service
from stack.settings import HOST, StackSettings


@dataclass(frozen=True, slots=True)
class Part:
    """One program of the stack, whatever runtime it runs in."""

    name: str
    purpose: str
    address: str
    """Where a user looks at it."""
    health_url: str
    """Answers 200 when the part can do its work."""
    ports: dict[str, int]
    """Every port it listens on, by the variable that moves it."""


@dataclass(frozen=True, slots=True)
class MissingPart:
    """What a runtime cannot give, and what there is instead."""

    name: str
    why: str


def parts_of(settings: StackSettings, *, with_pages: Collection[str]) -> tuple[Part, ...]:
    """All parts that every runtime has, in the order in which they are told.

    Args:
        settings: their ports.
        with_pages: which of Jaeger and Prometheus have their web pages; the others' APIs are named.
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
    """Toxiproxy between services and Collector; started, and asked to be slow, by who wants a fault."""

    api_url: str
    """Its HTTP API, seen from this machine."""
    listen: str
    """Where it is to listen, as the proxy sees it."""
    upstream: str
    """The Collector, as the proxy sees it."""
    endpoint: str
    """`OTEL_EXPORTER_OTLP_ENDPOINT` of a service that sends through it."""


def toxiproxy_part(settings: StackSettings) -> Part:
    """The program of the slow link; `up` does not start it."""
    return Part(
        "toxiproxy",
        "a slow link between services and Collector, while one is asked for",
        f"http://{HOST}:{settings.toxiproxy_port}/proxies",
        f"http://{HOST}:{settings.toxiproxy_port}/version",
        {"TOXIPROXY_PORT": settings.toxiproxy_port, "OTLP_PROXY_PORT": settings.otlp_proxy_port},
    )


def grafana_part(settings: StackSettings) -> Part:
    """Grafana, where there is an image of it, or a release for this machine."""
    return Part(
        "grafana",
        "dashboards over both, with links to traces",
        f"http://{HOST}:{settings.grafana_port}",
        f"http://{HOST}:{settings.grafana_port}/api/health",
        {"GRAFANA_PORT": settings.grafana_port},
    )
