"""One request measured: where it begins and ends, what failed, and what others make of the same request."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect
from support.shop_app import sample
from support.traced_app import TracedApp

from telemetry.decorators import track_errors
from telemetry.request.excluded import ExcludedPaths
from telemetry.request.middleware import TelemetryMiddleware


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


def outcome(span: Any) -> tuple[str, list[str], str | None]:
    """Returns a span's status, its events and its error type."""
    return (
        span.status.status_code.name,
        [event.name for event in span.events],
        span.attributes.get("error.type"),
    )


@pytest.mark.parametrize("kind", ["http", "asgi"])
def test_middleware_added_later_is_measured(kind: str, traced: TracedApp) -> None:
    """Whether it answers, raises, or passes the request on."""
    app = traced.app
    app.get("/ok")(lambda: 1)

    class Authorise:
        """A middleware that answers 401, or raises."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            """Serves."""
            given = dict(scope.get("headers", ())).get(b"authorization")
            if scope["type"] == "http" and given == b"bad":
                raise ValueError("on purpose")
            if scope["type"] == "http" and given is None:
                await Response(status_code=401)(scope, receive, send)
                return
            await self.inner(scope, receive, send)

    async def authorise(request: Request, call_next: Any) -> Response:
        if "authorization" not in request.headers:
            return Response(status_code=401)
        if request.headers["authorization"] == "bad":
            raise ValueError("on purpose")
        found: Response = await call_next(request)
        return found

    if kind == "asgi":
        app.add_middleware(Authorise)
    else:
        app.middleware("http")(authorise)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    with traced.browser() as http:
        statuses = [http.get("/ok", headers=each).status_code for each in ({}, {"authorization": "bad"})]
        http.headers["authorization"] = "good"
        preflight = {"origin": "http://x", "access-control-request-method": "GET"}
        statuses += [http.get("/ok").status_code, http.options("/ok", headers=preflight).status_code]
        assert statuses == [401, 500, 200, 200]
        for code, method, count in ((401, "GET", 1), (500, "GET", 1), (200, "GET", 1), (200, "OPTIONS", 1)):
            found = sample(http, "app_request_count_total", status_code=str(code), method=method)
            assert found == count, (code, method)
        assert sample(http, "app_error_count_total") == 1
    assert [span.attributes["http.response.status_code"] for span in traced.server_spans] == statuses  # type: ignore[index]
    assert [outcome(span)[0] for span in traced.server_spans] == ["UNSET", "ERROR", "UNSET", "UNSET"]


def test_middleware_that_rewrites_the_path_hides_no_route(traced: TracedApp) -> None:
    """It gives the application a scope of its own, as one that strips a version does."""
    inner = FastAPI()
    inner.get("/items/{item}")(lambda item: 1)
    traced.app.mount("/shop", inner)

    class Rewrite:
        """Strips `/v1`."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            """Serves with another scope."""
            path = scope.get("path", "").removeprefix("/v1")
            await self.app({**scope, "path": path}, receive, send)

    traced.app.add_middleware(Rewrite)
    TracedApp(inner)
    with traced.browser() as http:
        assert http.get("/v1/shop/items/7").status_code == 200
    (span,) = traced.server_spans
    assert (span.name, span.attributes["url.path"]) == ("GET /shop/items/{item}", "/v1/shop/items/7")  # type: ignore[index]


def test_failure_after_the_answer_began_is_recorded_once(traced: TracedApp) -> None:
    """In the middle of a stream, and in a dependency after its yield."""

    async def failing() -> AsyncIterator[None]:
        yield
        raise RuntimeError("after the answer")

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("in the middle")

    traced.app.get("/dependency", dependencies=[Depends(failing)])(lambda: 1)
    traced.app.get("/stream")(lambda: StreamingResponse(body()))
    with traced.browser() as http:
        for path in ("/dependency", "/stream"):
            http.get(path)
            assert sample(http, "app_error_count_total", route=path, error_type="RuntimeError") == 1
    assert [outcome(span) for span in traced.server_spans] == [("ERROR", ["exception"], "RuntimeError")] * 2


def test_exception_that_the_application_recorded_on_the_span_is_not_recorded_again(traced: TracedApp) -> None:
    """`track_errors` records on the current span, which is the request's."""

    @traced.app.get("/broken")
    @track_errors
    def broken() -> None:
        raise KeyError("x")

    with traced.browser() as http:
        assert http.get("/broken").status_code == 500
    assert outcome(traced.server_spans[0]) == ("ERROR", ["exception"], "KeyError")


def test_background_work_is_neither_latency_nor_the_answers_error(traced: TracedApp) -> None:
    """It has a span of its own, below the request's."""

    @traced.app.get("/slow")
    async def slow(tasks: BackgroundTasks) -> int:
        tasks.add_task(asyncio.sleep, 0.2)
        return 1

    @traced.app.get("/fails")
    async def fails() -> Response:
        def fail() -> None:
            raise LookupError("in the background")

        return StreamingResponse(iter([b"x"]), background=BackgroundTask(fail))

    with traced.browser() as http:
        for path in ("/slow", "/fails"):
            assert http.get(path).status_code == 200
        assert sample(http, "app_error_count_total") is None
        assert (sample(http, "app_request_latency_ms_sum", route="/slow") or 0) < 200
    server, background, other, failed = traced.spans
    assert (background.name, failed.name) == ("GET /slow background", "GET /fails background")
    assert background.parent is not None
    assert background.parent.span_id == server.context.span_id
    assert background.start_time == server.end_time
    assert (background.end_time or 0) - (background.start_time or 0) >= 200e6
    assert [outcome(span) for span in (server, other)] == [("UNSET", [], None)] * 2
    assert outcome(failed) == ("ERROR", ["exception"], "LookupError")


def test_plain_answer_has_one_span(traced: TracedApp) -> None:
    """Also where a middleware streams it, a dependency is closed, and background work was not needed."""

    async def dependency() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0)

    def plain(tasks: BackgroundTasks) -> int:
        return 1

    traced.app.get("/plain", dependencies=[Depends(dependency)])(plain)
    traced.app.middleware("http")(lambda request, call_next: call_next(request))
    with traced.browser() as http:
        http.get("/plain")
    assert traced.names == ["GET /plain"]


def test_server_error_is_an_error_and_a_client_error_is_none(traced: TracedApp) -> None:
    """Without an exception there is none on the span."""
    traced.app.get("/{status}")(lambda status: Response(status_code=int(status)))
    with traced.browser() as http:
        for status in (200, 404, 499, 500, 503):
            http.get(f"/{status}")
    assert [outcome(span) for span in traced.server_spans] == [
        *[("UNSET", [], None)] * 3,
        ("ERROR", [], "500"),
        ("ERROR", [], "503"),
    ]


@pytest.mark.parametrize(
    ("how", "status", "state"),
    [("served", 101, "UNSET"), ("refused", 403, "UNSET"), ("left", 101, "UNSET"), ("broken", 101, "ERROR")],
)
def test_websocket_is_one_span(how: str, status: int, state: str, traced: TracedApp) -> None:
    """With the handshake's status; a client that leaves is no error."""

    @traced.app.websocket("/room")
    async def room(socket: WebSocket) -> None:
        if how == "refused":
            await socket.close()
            return
        await socket.accept()
        if how == "broken":
            raise RuntimeError("on purpose")
        await socket.receive_text()

    with traced.browser() as http:
        try:
            with http.websocket_connect("/room") as socket:
                if how == "served":
                    socket.send_text("x")
        except (WebSocketDisconnect, RuntimeError):
            assert how in {"refused", "left", "broken"}
    (span,) = traced.server_spans
    assert (span.name, span.attributes["http.response.status_code"]) == ("GET /room", status)  # type: ignore[index]
    assert span.status.status_code.name == state


def test_refused_websocket_has_the_refusals_status(traced: TracedApp) -> None:
    """Where the server can send a whole response instead of the handshake's."""

    @traced.app.websocket("/room")
    async def room(socket: WebSocket) -> None:
        await socket.send_denial_response(Response("no", status_code=402))

    with traced.browser() as http, pytest.raises(WebSocketDenialResponse), http.websocket_connect("/room"):
        pass
    assert (traced.server_spans[0].attributes or {})["http.response.status_code"] == 402


@pytest.mark.parametrize("how", ["receiving", "sending", "cancelled"])
def test_client_that_leaves_is_no_error(how: str, traced: TracedApp) -> None:
    """Whether its request cannot be read, its answer not be sent, or the server gives it up."""

    @traced.app.get("/x")
    async def read(request: Request) -> Response:
        if how == "receiving":
            await request.body()
        if how == "cancelled":
            raise asyncio.CancelledError
        return Response("x")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if how == "sending":
            raise BrokenPipeError

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}
    with suppress(BaseException):
        asyncio.run(traced.app(scope, receive, send))  # type: ignore[arg-type]
    with traced.browser() as http:
        assert sample(http, "app_error_count_total") is None
        assert sample(http, "app_request_count_total", route="/x") == 1
    assert outcome(traced.server_spans[0]) == ("UNSET", [], None)


def test_broken_metrics_leave_the_span(traced: TracedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failure of ours is not to cost the other signal."""

    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    for method in ("record", "record_error"):
        monkeypatch.setattr(traced.client.metrics.requests, method, broken)
    traced.app.get("/{status}")(lambda status: Response(status_code=int(status)))
    with traced.browser() as http:
        for status in (200, 500):
            assert http.get(f"/{status}").status_code == status
    assert [outcome(span)[0] for span in traced.server_spans] == ["UNSET", "ERROR"]


def test_exception_that_cannot_be_printed_is_recorded(traced: TracedApp) -> None:
    """By its type."""

    class UnprintableError(Exception):
        """Cannot be printed."""

        def __str__(self) -> str:
            """Fails."""
            raise RuntimeError

    @traced.app.get("/x")
    def read() -> None:
        raise UnprintableError

    with traced.browser() as http:
        http.get("/x")
    status, events, error_type = outcome(traced.server_spans[0])
    assert (status, events) == ("ERROR", ["exception"])
    assert error_type is not None
    assert error_type.endswith("UnprintableError")


def test_host_that_is_no_router_is_counted(traced: TracedApp) -> None:
    """It has no template, and no path that could be one."""
    traced.app.host("raw.test", PlainTextResponse("raw"))
    with traced.browser() as http:
        assert http.get("/x", headers={"host": "raw.test"}).text == "raw"
        assert sample(http, "app_request_count_total", route="unmatched") == 1
    assert traced.names == ["GET"]


def test_request_is_freed_with_its_scope(traced: TracedApp) -> None:
    """Without the garbage collector."""
    references = []

    class Marker:
        """Can be referred to weakly."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("x")(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        pass

    middleware = TelemetryMiddleware(answer, client=traced.client, excluded=ExcludedPaths(()))
    gc.disable()
    try:
        marker = Marker()
        references.append(weakref.ref(marker))
        scope = {"type": "http", "method": "GET", "path": "/x", "marker": marker}
        del marker
        with suppress(StopIteration):
            middleware(scope, receive, send).send(None)
        del scope
        assert [reference() for reference in references] == [None]
    finally:
        gc.enable()
