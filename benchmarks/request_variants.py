"""The application that is measured, and its variants: each is set up as its own documentation says.

All of them see the same environment and the same receiver. Rivals are imported where they are set up, since
only `.venv-bench` has all of them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

FLUSH_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The receiver's, as URLs without a path."""

    grpc: str
    http: str


@dataclass(frozen=True, slots=True)
class Instrumented:
    """An application that is set up."""

    flush: Callable[[], object]
    """Sends every span that has ended."""
    ended: Callable[[], int] | None = None
    """The number of sampled spans that have ended, if the variant counts them."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to instrument an application."""

    title: str
    spans: int
    """Of a sampled request."""
    instrument: Callable[[FastAPI, Endpoints], Instrumented]
    packages: tuple[str, ...] = ()
    """Distributions whose versions belong to the result."""


def build_app() -> FastAPI:
    """Returns the application, the same for every variant."""
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def read_item(item_id: int) -> dict[str, Any]:
        return {"id": item_id, "name": "Teapot", "price": 19.9, "tags": ["kitchen", "porcelain"]}

    return app


def instrument(app: FastAPI, variant: str, endpoints: Endpoints, ratio: float) -> Instrumented:
    """Sets an application up. Once in a process, since variants set global providers.

    Args:
        app: the application.
        variant: its key in `VARIANTS`.
        endpoints: where it sends to.
        ratio: the share of traces to keep, by the standard variables.
    """
    os.environ |= {
        "OTEL_SERVICE_NAME": "benchmark",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
    }
    return VARIANTS[variant].instrument(app, endpoints)


def _leave_bare(_: FastAPI, __: Endpoints) -> Instrumented:
    return Instrumented(flush=lambda: None)


def _set_stock_provider(endpoints: Endpoints) -> Instrumented:
    from opentelemetry import trace  # noqa: PLC0415 - a bare application imports none of it
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoints.grpc, insecure=True)))
    trace.set_tracer_provider(provider)
    return Instrumented(flush=lambda: provider.force_flush(FLUSH_SECONDS * 1000))


def _use_contrib(app: FastAPI, endpoints: Endpoints) -> Instrumented:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

    stock = _set_stock_provider(endpoints)
    FastAPIInstrumentor.instrument_app(app)
    return stock


def _use_contrib_without_messages(app: FastAPI, endpoints: Endpoints) -> Instrumented:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

    stock = _set_stock_provider(endpoints)
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])
    return stock


def _use_native(_: FastAPI, endpoints: Endpoints) -> Instrumented:
    return _set_stock_provider(endpoints)


def _use_logfire(app: FastAPI, endpoints: Endpoints) -> Instrumented:
    import logfire  # noqa: PLC0415

    # For another backend than Pydantic's, which takes traces only.
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{endpoints.http}/v1/traces"
    logfire.configure(send_to_logfire=False, console=False)
    logfire.instrument_fastapi(app)
    return Instrumented(flush=lambda: logfire.force_flush(FLUSH_SECONDS * 1000))


def _use_vitals(app: FastAPI, endpoints: Endpoints) -> Instrumented:
    from fastapi_vitals.metrics import setup_metrics  # noqa: PLC0415
    from fastapi_vitals.tracing import setup_tracing  # noqa: PLC0415
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoints.http
    if not setup_tracing(app):
        raise RuntimeError("fastapi-vitals did not set up its tracing")
    setup_metrics(app)
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        raise TypeError(f"fastapi-vitals set {provider!r} as the global provider")
    return Instrumented(flush=lambda: provider.force_flush(FLUSH_SECONDS * 1000))


def _use_ours(app: FastAPI, endpoints: Endpoints) -> Instrumented:
    from telemetry.telemetry import setup_telemetry  # noqa: PLC0415 - a bare application imports none of it

    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoints.grpc
    client = setup_telemetry(app)
    return Instrumented(
        flush=lambda: client.force_flush(FLUSH_SECONDS), ended=lambda: client.pipeline.ledger.read().ended
    )


_CONTRIB = ("opentelemetry-instrumentation-fastapi", "opentelemetry-exporter-otlp-proto-grpc")

VARIANTS: Mapping[str, Variant] = {
    "bare": Variant("bare FastAPI", 0, _leave_bare, ("fastapi", "starlette", "uvicorn")),
    "ours": Variant("ours, everything on", 1, _use_ours, ("opentelemetry-sdk", "grpcio", "protobuf")),
    "contrib": Variant("contrib + SDK + gRPC", 3, _use_contrib, _CONTRIB),
    "contrib-fewer": Variant("contrib without send and receive", 1, _use_contrib_without_messages, _CONTRIB),
    "native": Variant("FastAPI's own telemetry", 4, _use_native),
    "logfire": Variant("Logfire, its OTLP over HTTP", 1, _use_logfire, ("logfire",)),
    "vitals": Variant("fastapi-vitals, traces and metrics", 4, _use_vitals, ("fastapi-vitals",)),
}
"""By the name that labels use."""
