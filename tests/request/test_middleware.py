"""The middleware as a plain ASGI callable, including failures."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.client import TelemetryClient
from telemetry.request.excluded import ExcludedPaths
from telemetry.request.middleware import TelemetryMiddleware


@pytest.fixture
def client() -> Iterator[TelemetryClient]:
    """A client that exports nothing."""
    made = TelemetryClient(service_name="middleware-test", traces_exporter="none")
    yield made
    made.shutdown(1)


def serve(client: TelemetryClient, app: ASGIApp, **scope: Any) -> list[Message]:
    """Sends one request through the middleware; the clock advances 5 ms with each reading."""
    sent: list[Message] = []
    ticks = iter(range(100))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    middleware = TelemetryMiddleware(
        app, client=client, excluded=ExcludedPaths(("/live",)), clock=lambda: next(ticks) * 0.005
    )
    asyncio.run(middleware({"type": "http", "method": "GET", "path": "/", **scope}, receive, send))
    return sent


def value(client: TelemetryClient, name: str, **labels: str) -> float:
    """Returns the value of a series, or 0 if there is none."""
    return client.registry.get_sample_value(name, labels) or 0.0


async def answer_200(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with an empty 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_duration_is_in_milliseconds(client: TelemetryClient) -> None:
    """The histogram's unit matches its name."""
    labels = {"method": "GET", "route": "unmatched", "status_code": "200"}
    before = value(client, "app_request_latency_ms_sum", **labels)
    serve(client, answer_200)
    assert value(client, "app_request_latency_ms_sum", **labels) - before == pytest.approx(5)


def test_exception_after_the_answer_began_keeps_its_status_and_counts_as_an_error(
    client: TelemetryClient,
) -> None:
    """The client saw 200; the failure is still counted and propagates."""

    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionResetError

    labels = {
        "method": "GET",
        "route": "unmatched",
        "status_code": "200",
        "error_type": "ConnectionResetError",
    }
    before = value(client, "app_error_count_total", **labels)
    with pytest.raises(ConnectionResetError):
        serve(client, break_off)
    assert value(client, "app_error_count_total", **labels) == before + 1


async def never(*_: object) -> Message:
    """Is not called."""
    raise AssertionError


def test_exception_of_the_application_is_freed_at_once(client: TelemetryClient) -> None:
    """The middleware does not keep it, nor what its frames hold."""

    class CrashError(Exception):
        """Can be referred to weakly."""

    references = []

    async def crash(scope: Scope, receive: Receive, send: Send) -> None:
        error = CrashError()
        references.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    middleware = TelemetryMiddleware(crash, client=client, excluded=ExcludedPaths(()))
    gc.disable()
    try:
        with suppress(CrashError):  # without asyncio, which keeps an exception for a while
            middleware({"type": "http", "method": "GET", "path": "/"}, never, never).send(None)
        assert [reference() for reference in references] == [None]
    finally:
        gc.enable()


def test_cancelled_request_is_no_error(client: TelemetryClient) -> None:
    """A client that goes away is counted as 499, not as a failure of the service."""

    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    labels = {"method": "GET", "route": "unmatched", "status_code": "499"}
    before = value(client, "app_request_count_total", **labels)
    with pytest.raises(asyncio.CancelledError):
        serve(client, cancelled)
    assert value(client, "app_request_count_total", **labels) == before + 1
    assert not [
        sample
        for family in client.registry.collect()
        for sample in family.samples
        if sample.name == "app_error_count_total" and sample.labels["status_code"] == "499"
    ]


def test_broken_metric_breaks_no_request(
    client: TelemetryClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in the library is logged once, and the answer is sent anyway."""

    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(client.metrics.requests, "record", broken)
    assert [message["type"] for message in serve(client, answer_200)] == [
        "http.response.start",
        "http.response.body",
    ]
    assert "recording a request failed" in caplog.text


@pytest.mark.parametrize("method", ["start_span", "end"])
def test_broken_tracer_breaks_no_request(
    method: str, client: TelemetryClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it fails before the application is called, or after it has answered."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    if method == "start_span":
        monkeypatch.setattr(client, "tracer", SimpleNamespace(start_span=broken))
    else:
        monkeypatch.setattr("telemetry.tracing.recording_span.RecordingSpan.end_with", broken)
    assert len(serve(client, answer_200)) == 2
    assert "recording a request failed" in caplog.text


BODY = {"type": "http.response.body", "body": b""}
TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("last", "milliseconds"),
    [
        ([{"type": "http.response.pathsend", "path": "/x"}], 5),
        ([{**BODY, "more_body": True}, BODY], 10),
        ([BODY, {**TRAILERS, "more_trailers": True}, TRAILERS], 10),
    ],
    ids=["a file that the server sends", "two pieces", "trailers"],
)
def test_request_ends_with_its_last_message(
    last: list[Message], milliseconds: float, client: TelemetryClient
) -> None:
    """The clock is read when it arrives, and when a part of the answer is sent, whatever the message is."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        trailers = any(message["type"].endswith("trailers") for message in last)
        await send({"type": "http.response.start", "status": 203, "headers": [], "trailers": trailers})
        for message in last:
            await send(message)

    labels = {"method": "GET", "route": "unmatched", "status_code": "203"}
    before = value(client, "app_request_latency_ms_sum", **labels)
    sent = serve(client, answer)
    assert sent[1:] == last
    after = value(client, "app_request_latency_ms_sum", **labels)
    assert after - before == pytest.approx(milliseconds)


def test_stream_that_the_client_leaves_ends_with_its_last_part(client: TelemetryClient) -> None:
    """Starlette then sends no end, and goes on with background work, below version 2.4 of ASGI."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 206, "headers": []})
        await send({**BODY, "more_body": True})  # reads the clock once more

    labels = {"method": "GET", "route": "unmatched", "status_code": "206"}
    before = value(client, "app_request_latency_ms_sum", **labels)
    serve(client, answer)
    assert value(client, "app_request_latency_ms_sum", **labels) - before == pytest.approx(5)


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_pass_through_uncounted(kind: str, client: TelemetryClient) -> None:
    """Only HTTP requests are counted."""
    seen: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    before = [sample.value for family in client.registry.collect() for sample in family.samples]
    serve(client, note, type=kind)
    assert seen == [kind]
    assert [sample.value for family in client.registry.collect() for sample in family.samples] == before


def test_span_of_others_is_ended_by_its_own_end(
    client: TelemetryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has a method of another tracing library's name."""
    ended: list[int | None] = []

    class Foreign(NonRecordingSpan):
        """A recording span of somebody else's."""

        def is_recording(self) -> bool:
            return True

        def finish(self, finish_time: float | None = None) -> None:
            raise AssertionError(finish_time)

        def end(self, end_time: int | None = None) -> None:
            ended.append(end_time)

    class ForeignTracer:
        """Makes them."""

        def start_span(self, *_: object, **__: object) -> Foreign:
            return Foreign(SpanContext(1, 2, False, TraceFlags(1)))

    monkeypatch.setattr(client, "tracer", ForeignTracer())
    serve(client, answer_200)
    assert len(ended) == 1
