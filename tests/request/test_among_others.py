"""A request among what else traces, logs and serves in the process."""

import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import baggage, propagate, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.routing import Mount
from support.shop_app import sample
from support.traced_app import TracedApp, quiet_config

from telemetry.decorators import measure_performance, trace_function, track_errors
from telemetry.errors import ConfigurationError
from telemetry.telemetry import setup_telemetry


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


@pytest.mark.parametrize("spelling", ["X-Amzn-Trace-Id", "x-amzn-trace-id"])
def test_propagator_may_spell_its_header_as_it_likes(spelling: str, traced: TracedApp) -> None:
    """ASGI has header names in lower case."""

    class Propagator(TextMapPropagator):
        """Reads a trace from a header of its own."""

        fields = {spelling}  # noqa: RUF012 - as the base has it

        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
            """Reads."""
            (trace_id,) = getter.get(carrier, spelling)
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            parent = trace.SpanContext(int(trace_id, 16), 7, is_remote=True, trace_flags=flags)
            return trace.set_span_in_context(trace.NonRecordingSpan(parent), context)

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            """Writes nothing."""

    usual = propagate.get_global_textmap()
    propagate.set_global_textmap(Propagator())
    traced.app.get("/x")(lambda: 1)
    try:
        with traced.browser() as http:
            http.get("/x", headers={"X-Amzn-Trace-Id": "a" * 32})
    finally:
        propagate.set_global_textmap(usual)
    assert f"{traced.server_spans[0].context.trace_id:032x}" == "a" * 32


def test_callers_trace_and_baggage_go_on(traced: TracedApp) -> None:
    """Also where tracestate and baggage come in several lines."""
    seen: dict[str, object] = {}

    @traced.app.get("/x")
    def read() -> None:
        seen.update(baggage.get_all())

    headers = [
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
        ("tracestate", "one=1"),
        ("tracestate", "two=2"),
        ("baggage", "k=v"),
        ("baggage", "l=w"),
    ]
    with traced.browser() as http:
        http.get("/x", headers=headers)  # type: ignore[arg-type]
    (span,) = traced.server_spans
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == ("a" * 32, "b" * 16)
    assert {"one": "1", "two": "2"}.items() <= dict(span.parent.trace_state).items()
    assert seen == {"k": "v", "l": "w"}


def test_malformed_traceparent_begins_a_trace(traced: TracedApp) -> None:
    """One that came twice is malformed, too."""
    traced.app.get("/x")(lambda: 1)
    valid = f"00-{'a' * 32}-{'b' * 16}-01"
    with traced.browser() as http:
        http.get("/x", headers=[("traceparent", valid), ("traceparent", valid)])  # type: ignore[arg-type]
        http.get("/x", headers={"traceparent": "nonsense"})
    assert [span.parent for span in traced.server_spans] == [None, None]


def test_excluded_request_is_silent() -> None:
    """For decorators, `start_span` and instrumentations; its log lines still name the service."""
    app = FastAPI()
    silent = TracedApp(app, quiet_config(service_name="quiet", excluded_urls=("/live",)))
    seen: dict[str, bool] = {}

    @app.get("/live")
    @trace_function
    @measure_performance
    @track_errors
    def live() -> None:
        with silent.client.start_span("ping") as span:
            seen["recording"] = span.is_recording()
        seen["instrumented"] = is_instrumentation_enabled()

    with silent.browser() as http:
        assert http.get("/live").status_code == 200
        assert sample(http, "app_function_duration_ms_count") is None
    assert silent.names == []
    assert seen == {"recording": False, "instrumented": False}


def test_own_pages_are_silent_under_a_root_path(traced: TracedApp) -> None:
    """Behind a proxy's prefix, and where the application is mounted in another."""
    outer = Starlette(routes=[Mount("/inner", traced.app)])
    with traced.browser(root_path="/api") as http:
        assert http.get("/api/metrics").status_code == 200
        assert http.get("/api/health/telemetry").status_code == 200
    with TestClient(outer) as http:
        assert http.get("/inner/metrics").status_code == 200
    assert traced.names == []


@pytest.mark.parametrize("is_contrib_first", [True, False])
def test_contribs_instrumentation_makes_no_second_server_span(is_contrib_first: bool) -> None:
    """Whichever comes first."""
    app = FastAPI()
    app.get("/x")(lambda: 1)
    if is_contrib_first:
        FastAPIInstrumentor.instrument_app(app)
    traced = TracedApp(app)
    if not is_contrib_first:
        FastAPIInstrumentor.instrument_app(app, tracer_provider=traced.client.tracer_provider)
    with traced.browser() as http:
        http.get("/x")
    assert [span.name for span in traced.server_spans] == ["GET /x"]


def test_server_span_of_a_middleware_around_the_application_is_the_requests(traced: TracedApp) -> None:
    """It is counted all the same, and named in `traceresponse`."""
    traced.app.get("/x")(lambda: 1)
    around = OpenTelemetryMiddleware(
        traced.app, tracer_provider=traced.client.tracer_provider, exclude_spans=["send", "receive"]
    )
    with TestClient(around) as http:
        http.get("/x")
        assert sample(http, "app_request_count_total", route="/x") == 1
    assert len(traced.server_spans) == 2, "the application's own and that of /metrics, which others made"
    assert len({span.context.trace_id for span in traced.spans}) == 2


def test_call_of_another_service_in_the_process_is_its_request(traced: TracedApp) -> None:
    """A server span of that service, in the caller's trace."""
    other = TracedApp()
    other.app.get("/inner")(lambda: 1)

    @traced.app.get("/outer")
    async def outer() -> int:
        transport = httpx.ASGITransport(other.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://other") as http:
            return (await http.get("/inner")).status_code

    with traced.browser() as http:
        assert http.get("/outer").json() == 200
    (inner,), (server,) = other.server_spans, traced.server_spans
    assert (inner.name, server.name) == ("GET /inner", "GET /outer")
    assert inner.parent is not None
    assert inner.parent.span_id == server.context.span_id


def test_application_in_an_application_is_measured_once(traced: TracedApp) -> None:
    """By the outer one, though both are set up."""
    inner = TracedApp()
    inner.app.get("/x")(lambda: 1)
    traced.app.mount("/inner", inner.app)
    with traced.browser() as http:
        assert http.get("/inner/x").status_code == 200
    assert (traced.names, inner.names) == (["GET /inner/x"], [])


def test_disabled_service_is_not_traced_by_another(traced: TracedApp) -> None:
    """FastAPI itself would, with the global provider, which is another service's."""
    app = FastAPI()
    app.get("/x")(lambda: 1)
    disabled = TracedApp(app, quiet_config(sdk_disabled=True))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with disabled.browser() as http:
        assert http.get("/x").status_code == 200
    assert exporter.get_finished_spans() == ()
    exporter.shutdown()  # the provider, which stays, keeps it


def test_fastapis_own_tracing_stands_aside(traced: TracedApp) -> None:
    """A global provider would switch it on."""
    assert not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    traced.app.get("/x")(lambda: 1)
    with traced.browser() as http:
        http.get("/x")
    assert [span.kind for span in traced.spans] == [SpanKind.SERVER]


def test_fastapis_own_tracing_is_not_woken_in_other_applications(traced: TracedApp) -> None:
    """Those that nobody has set up, in a process where a client of ours is global."""
    client = traced.client
    native = {"tracer_provider": client.tracer_provider, "meter_provider": client._providers.meter_provider}
    other = FastAPI()
    if hasattr(other, "_telemetry"):  # from FastAPI 0.142 on
        other._telemetry.update(native)
    other.get("/x")(lambda: 1)
    with TestClient(other) as http:
        assert http.get("/x").json() == 1
    assert traced.spans == ()
    with traced.browser() as http:
        assert "http_server" not in http.get("/metrics").text


def test_log_fields_exist_although_telemetry_is_misconfigured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The launcher goes on without telemetry, and so may an application."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "soon")
    with pytest.raises(ConfigurationError):
        setup_telemetry(FastAPI())
    logging.getLogger("shop").warning("without telemetry")
    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert (record.otelTraceID, record.otelServiceName) == ("0", "")  # type: ignore[attr-defined]


def test_log_fields_can_be_left_off(caplog: pytest.LogCaptureFixture) -> None:
    """By the standard variable."""
    TracedApp(FastAPI(), quiet_config(disabled_instrumentations=("logging",)))
    logging.getLogger("shop").warning("plain")
    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert not hasattr(record, "otelTraceID")


def test_log_fields_exist_although_telemetry_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """A format that names them must not fail."""
    app = FastAPI()

    @app.get("/x")
    def read() -> None:
        logging.getLogger("shop").warning("in a request")

    traced = TracedApp(app, quiet_config(service_name="off", sdk_disabled=True))
    with traced.browser() as http:
        http.get("/x")
    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert (record.otelTraceID, record.otelSpanID, record.otelServiceName) == ("0", "0", "off")  # type: ignore[attr-defined]
