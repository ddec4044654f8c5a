"""`GET /metrics`: everything a service measures, in OpenMetrics with exemplars where it is asked for."""

from collections.abc import Iterable, Sequence

import anyio
import anyio.to_thread
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from ..client import TelemetryClient

METRICS_PATH = "/metrics"


class _Collected:
    """What the encoders take for a registry: they ask it for nothing but collect()."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def metrics_response(request: Request, client: TelemetryClient) -> Response:
    """Renders the metrics in the format that `Accept` prefers; exemplars exist in OpenMetrics only."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    families = _Collected(await client.collect_metrics())
    # Off the event loop: many workers make a long page. The application's own threads may all be stuck.
    body = await anyio.to_thread.run_sync(encode, families, limiter=anyio.CapacityLimiter(1))
    return Response(body, headers={"Content-Type": content_type})
