"""`GET /metrics`: everything a service measures, in OpenMetrics with exemplars where it is asked for."""

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

METRICS_PATH = "/metrics"


class _Together:
    """The library's registry and the process's default one, in which applications keep their own."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        self._registries = registries

    def collect(self) -> Iterable[Metric]:
        for registry in self._registries:
            yield from registry.collect()


def metrics_response(request: Request, registry: CollectorRegistry) -> Response:
    """Renders the metrics in the format that `Accept` prefers; exemplars exist in OpenMetrics only."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    # The encoders ask a registry for nothing but collect().
    return Response(encode(_Together(registry, REGISTRY)), headers={"Content-Type": content_type})
