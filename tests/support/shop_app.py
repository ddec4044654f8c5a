"""An application with a route of each kind that matters, and what its /metrics shows."""

from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from telemetry.config import TelemetryConfig

OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def build_app() -> FastAPI:
    """An application with a route of each kind that matters."""
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
    """The value of one series on /metrics."""
    text = client.get("/metrics", headers=OPEN_METRICS).text
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == name and labels.items() <= each.labels.items():
                return float(each.value)
    return None


def shop_config(receiver: Any) -> TelemetryConfig:
    """Settings of a service that sends to the receiver and answers with traceresponse."""
    return TelemetryConfig(
        service_name="shop",
        endpoint=receiver.endpoint,
        trace_response=True,
        excluded_urls=("/live", "/internal/*"),
    )
