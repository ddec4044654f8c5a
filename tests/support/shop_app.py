"""An application with a route of each relevant kind, and the values on its /metrics."""

from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from telemetry.config import TelemetryConfig

OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def build_app() -> FastAPI:
    """Builds an application with a route of each relevant kind."""
    app = FastAPI()
    router = APIRouter(prefix="/api")

    @app.get("/items/{item_id}")
    def read_item(item_id: int) -> dict[str, int]:
        return {"item": item_id}

    @router.get("/nested/{name}")
    async def nested(name: str) -> str:
        return name

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("on purpose")

    @app.get("/unavailable")
    def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/live")
    @app.get("/internal/state")
    def silent() -> str:
        return "ok"

    app.include_router(router)
    app.mount("/mounted", Mount("", routes=[Route("/{rest}", lambda _: PlainTextResponse("mounted"))]))
    return app


def sample(client: TestClient, name: str, **labels: str) -> float | None:
    """Returns the value of a series on /metrics, or None if there is none."""
    text = client.get("/metrics", headers=OPEN_METRICS).text
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == name and labels.items() <= each.labels.items():
                return float(each.value)
    return None


def shop_config(receiver: Any) -> TelemetryConfig:
    """Returns the settings of a service that exports to the receiver and responds with traceresponse."""
    return TelemetryConfig(
        service_name="shop",
        endpoint=receiver.endpoint,
        trace_response=True,
        excluded_urls=("/live", "/internal/*"),
    )
