"""What a request's measurement leaves to others: spans, scopes and tasks that are not its own."""

import asyncio
import gc
import logging
import weakref
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from opentelemetry import baggage
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, get_current_span
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.traced_app import TracedApp, quiet_config

from telemetry.request.excluded import ExcludedPaths
from telemetry.request.middleware import TelemetryMiddleware


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


def scope_of(kind: str = "http", **more: Any) -> dict[str, Any]:
    """Returns the scope of a request for /x."""
    return {"type": kind, "method": "GET", "path": "/x", "query_string": b"", "headers": [], **more}


async def receive_nothing() -> Message:
    """Receives a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def discard(message: Message) -> None:
    """Sends nowhere."""


def attributes_of(span: Any) -> dict[str, Any]:
    """Returns a span's attributes."""
    return dict(span.attributes)


def test_span_lasts_exactly_as_long_as_the_request(traced: TracedApp) -> None:
    """From its arrival to its last byte, as its metric does: not from when the span was made."""
    ticks = iter(range(100))
    middleware = TelemetryMiddleware(
        PlainTextResponse("x"),
        client=traced.client,
        excluded=ExcludedPaths(()),
        clock=lambda: next(ticks) * 3,
    )
    asyncio.run(middleware(scope_of(), receive_nothing, discard))
    (span,) = traced.server_spans
    assert span.start_time is not None
    assert span.end_time == span.start_time + 3_000_000_000


def test_server_span_around_the_application_is_left_open(traced: TracedApp) -> None:
    """Whoever made it ends it and says what it is."""
    traced.app.get("/x")(lambda: 1)
    with traced.client.start_span("theirs", kind=SpanKind.SERVER) as span:
        asyncio.run(traced.app(scope_of(), receive_nothing, discard))
        assert span.is_recording()
    (theirs,) = traced.server_spans
    assert (theirs.name, attributes_of(theirs)) == ("theirs", {})


def test_first_of_several_headers_counts(traced: TracedApp) -> None:
    """As Starlette's own `headers["host"]` has it."""
    traced.app.get("/x")(lambda: 1)
    headers = [
        (b"host", b"first.example"),
        (b"host", b"second.example"),
        (b"user-agent", b"one"),
        (b"user-agent", b"two"),
    ]
    asyncio.run(traced.app(scope_of(headers=headers), receive_nothing, discard))
    found = attributes_of(traced.server_spans[0])
    assert (found["server.address"], found["user_agent.original"]) == ("first.example", "one")


def test_detached_task_does_not_keep_its_requests_scope(traced: TracedApp) -> None:
    """It keeps the context that it was started in, but not what the request held."""

    class Marker:
        """Can be referred to weakly."""

    async def serve_once(release: asyncio.Event) -> tuple[weakref.ref[Marker], asyncio.Task[bool]]:
        started: list[asyncio.Task[bool]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            started.append(asyncio.create_task(release.wait()))
            await PlainTextResponse("x")(scope, receive, send)

        middleware = TelemetryMiddleware(app, client=traced.client, excluded=ExcludedPaths(()))
        scope = scope_of(marker=Marker())
        await middleware(scope, receive_nothing, discard)
        return weakref.ref(scope["marker"]), started[0]

    async def run() -> None:
        release = asyncio.Event()
        marker, task = await serve_once(release)
        assert marker() is None
        release.set()
        await task

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


def test_request_in_the_context_of_one_that_is_answered_begins_a_trace(traced: TracedApp) -> None:
    """A server starts the next request of a connection there; background work may still go on, or be over."""
    later: list[asyncio.Task[None]] = []

    @traced.app.get("/x")
    async def read(number: int) -> PlainTextResponse:
        async def work() -> None:
            if number == 2:
                await later[1]

        return PlainTextResponse("x", background=BackgroundTask(work))

    async def request(number: int) -> None:
        async def send(message: Message) -> None:
            if number < 3 and message["type"] == "http.response.body":
                later.append(asyncio.create_task(request(number + 1)))

        query = f"number={number}".encode()
        await traced.app(scope_of(query_string=query), receive_nothing, send)

    async def run() -> None:
        await request(1)
        gc.collect()
        await asyncio.gather(*later)
        await later[1]

    asyncio.run(run())
    assert [span.parent for span in traced.server_spans] == [None] * 3
    assert len({span.context.trace_id for span in traced.server_spans}) == 3


def test_excluded_request_shares_nothing_with_its_neighbours_on_a_connection() -> None:
    """Neither has it the trace of the one before, nor the one after it the silence."""
    traced = TracedApp(config=quiet_config(excluded_urls=("/live",)))
    seen: list[tuple[str, bool, bool, object]] = []

    async def look(request: Request) -> PlainTextResponse:
        span, mine = get_current_span(), baggage.get_baggage("k")
        seen.append((request.url.path, span.is_recording(), is_instrumentation_enabled(), mine))
        return PlainTextResponse("x", background=BackgroundTask(asyncio.sleep, 0.01))

    paths, later = ["/live", "/x", "/live", "/live", "/x"], list[asyncio.Task[None]]()
    for path in set(paths):
        traced.app.get(path)(look)

    async def request(index: int) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and index + 1 < len(paths):
                later.append(asyncio.create_task(request(index + 1)))

        headers = [(b"baggage", b"k=v")]
        await traced.app(scope_of(path=paths[index], headers=headers), receive_nothing, send)

    async def run() -> None:
        await request(0)
        for index in range(len(paths) - 1):
            await later[index]

    asyncio.run(run())
    assert seen == [(path, path == "/x", path == "/x", "v" if path == "/x" else None) for path in paths]


def test_task_of_an_excluded_request_that_is_over_leaves_its_silence_to_no_other() -> None:
    """As where a server accepts a connection in a context that an excluded WebSocket left."""
    traced = TracedApp(config=quiet_config(excluded_urls=("/live",)))
    seen, contexts = [], list[Context]()
    traced.app.get("/x")(lambda: seen.append(is_instrumentation_enabled()))

    @traced.app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        contexts.append(copy_context())
        await socket.close()

    async def run() -> None:
        await traced.app(scope_of("websocket", path="/live"), receive_nothing, discard)
        await asyncio.create_task(traced.app(scope_of(), receive_nothing, discard), context=contexts[0])

    asyncio.run(run())
    assert seen == [True]


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_websocket_that_is_not_accepted_for_a_defect_has_status_500(how: str, traced: TracedApp) -> None:
    """The server answers the handshake with it."""

    @traced.app.websocket("/x")
    async def room(socket: WebSocket) -> None:
        if how == "raises":
            raise RuntimeError("on purpose")

    async def connect() -> Message:
        return {"type": "websocket.connect"}

    try:
        asyncio.run(traced.app(scope_of("websocket"), connect, discard))
    except RuntimeError:
        assert how == "raises"
    (span,) = traced.server_spans
    assert attributes_of(span)["http.response.status_code"] == 500
    assert span.status.status_code.name == "ERROR"
    assert attributes_of(span)["error.type"] == ("RuntimeError" if how == "raises" else "500")


def test_websocket_given_up_before_its_handshake_has_no_status(traced: TracedApp) -> None:
    """No answer was sent, and nothing failed."""

    @traced.app.websocket("/x")
    async def room(socket: WebSocket) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(traced.app(scope_of("websocket"), receive_nothing, discard))
    (span,) = traced.server_spans
    assert "http.response.status_code" not in attributes_of(span)
    assert span.status.status_code.name == "UNSET"


def test_background_work_leaves_its_context_to_no_other(traced: TracedApp) -> None:
    """The task that serves the request has the context that it had before."""

    async def run() -> None:
        before = dict(copy_context())
        await traced.app(scope_of(), receive_nothing, discard)
        assert dict(copy_context()) == before

    traced.app.get("/x")(lambda: PlainTextResponse("x", background=BackgroundTask(int)))
    asyncio.run(run())
    assert traced.names == ["GET /x", "GET /x background"]


@pytest.mark.parametrize(("path", "above"), [("/plain", True), ("/relayed/plain", True), ("/stream", False)])
def test_spans_and_lines_of_background_work_are_below_its_span(
    path: str, above: bool, traced: TracedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it runs in the task that sends the answer; a stream's does not, and is the request's."""

    def work() -> None:
        logging.getLogger("shop").warning("in the background")
        with traced.client.start_span("inner"):
            pass

    def answer(request: Request) -> Any:
        if request.url.path.endswith("plain"):
            return PlainTextResponse("x", background=BackgroundTask(work))
        return StreamingResponse(iter([b"x"]), background=BackgroundTask(work))

    async def relay(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    traced.app.add_route("/{rest:path}", answer)
    if path.startswith("/relayed"):
        traced.app.middleware("http")(relay)
    with traced.browser() as http:
        assert http.get(path).text == "x"
    spans = {span.name: span for span in traced.spans}
    server, background = (spans[f"GET /{{rest:path}}{end}"] for end in ("", " background"))
    expected = background if above else server
    assert spans["inner"].parent is not None
    assert spans["inner"].parent.span_id == expected.context.span_id
    (line,) = [record for record in caplog.records if record.name == "shop"]
    assert int(line.otelSpanID, 16) == expected.context.span_id  # type: ignore[attr-defined]
    assert background.parent is not None
    assert background.parent.span_id == server.context.span_id


@pytest.mark.parametrize("kind", ["plain", "stream"])
@pytest.mark.parametrize("added", ["before", "after"])
def test_background_work_behind_a_middleware_that_relays_the_answer(
    kind: str, added: str, traced: TracedApp
) -> None:
    """`BaseHTTPMiddleware` runs the application in a task of its own, and sends the answer itself."""
    app = FastAPI() if added == "before" else traced.app

    def middleware(request: Request, call_next: Any) -> Any:
        return call_next(request)

    if added == "before":
        app.add_middleware(BaseHTTPMiddleware, dispatch=middleware)
        traced = TracedApp(app)
    else:
        app.middleware("http")(middleware)

    @app.get("/work")
    async def work(tasks: BackgroundTasks) -> Any:
        if kind == "stream":
            return StreamingResponse(iter([b"x", b"y"]), background=BackgroundTask(asyncio.sleep, 0.05))
        tasks.add_task(asyncio.sleep, 0.05)
        return 1

    app.get("/none")(lambda: 1)
    with traced.browser() as http:
        for path in ("/work", "/none"):
            assert http.get(path).status_code == 200
    assert traced.names == ["GET /work", "GET /work background", "GET /none"]
    server, background, _ = traced.spans
    assert background.parent is not None
    assert background.parent.span_id == server.context.span_id
    assert (background.end_time or 0) - (background.start_time or 0) >= 50e6


def test_response_within_a_response_has_no_work_ahead(tmp_path: Path) -> None:
    """The refusal of a range, which a file's response sends by another, runs no background task."""
    app = FastAPI()
    ran: list[int] = []
    (tmp_path / "file").write_bytes(b"x" * 100)

    class Wrapping:
        """Puts one more function between some responses and the server."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def further(message: Message) -> None:
                await send(message)

            is_wrapped = b"x-wrap" in dict(scope.get("headers", ()))
            await self.app(scope, receive, further if is_wrapped else send)

    app.add_middleware(Wrapping)
    app.get("/")(lambda: 1)
    file = FileResponse(tmp_path / "file", background=BackgroundTask(ran.append, 1))
    app.add_route("/file", lambda _: file)
    traced = TracedApp(app)
    with traced.browser() as http:
        assert http.get("/", headers={"x-wrap": "1"}).status_code == 200
        assert http.get("/file", headers={"range": "bytes=500-"}).status_code == 416
        assert (ran, traced.names) == ([], ["GET /", "GET /file"])
        assert http.get("/file").status_code == 200
        assert (ran, traced.names[2:]) == ([1], ["GET /file", "GET /file background"])
