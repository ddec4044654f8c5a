"""The pages that the library adds to the application: `/metrics` and `/health/telemetry`."""

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import TelemetryClient
from ..health_check import check_telemetry_health_async
from ..metrics.exposition import render

METRICS_PATH = "/metrics"
HEALTH_PATH = "/health/telemetry"


def own_routes(client: TelemetryClient) -> list[Route]:
    """Returns the routes of the pages that the client's configuration enables."""

    async def health(_: Request) -> Response:
        return await _health_response(client)

    async def metrics(request: Request) -> Response:
        return await _metrics_response(request, client)

    # Named so that `url_for` still finds an application's own route "health" or "metrics".
    routes: list[Route] = [Route(HEALTH_PATH, health, name="telemetry_health", include_in_schema=False)]
    if client.config.enable_prometheus:
        routes.append(Route(METRICS_PATH, metrics, name="telemetry_metrics", include_in_schema=False))
    return routes


async def _health_response(client: TelemetryClient) -> Response:
    """Responds with 200 when healthy or degraded, 503 when unhealthy."""
    health = await check_telemetry_health_async(client)
    return Response(
        health.model_dump_json(),
        status_code=503 if health.status == "unhealthy" else 200,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def _metrics_response(request: Request, client: TelemetryClient) -> Response:
    families = await client.collect_metrics()
    # Off the event loop, since many workers make a long page, and with its own limiter, since the
    # application's threads may all be stuck.
    body, content_type = await anyio.to_thread.run_sync(
        render, families, ",".join(request.headers.getlist("accept")), limiter=anyio.CapacityLimiter(1)
    )
    return Response(body, headers={"Content-Type": content_type})
