"""What is expected of any ASGI instrumentation, and is tested nowhere else here.

The expectations are those of contrib's own tests of its ASGI and FastAPI instrumentations.
"""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.trace import get_current_span
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send
from support.shop_app import sample
from support.traced_app import TracedApp, quiet_config

from telemetry.telemetry import setup_telemetry


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


def trace_id() -> int:
    """Returns the id of the current trace."""
    return get_current_span().get_span_context().trace_id


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
def test_suppressed_request_has_no_span(suppress: Any, traced: TracedApp) -> None:
    """Whoever calls the application may not want one; the request is counted all the same."""
    traced.app.get("/x")(trace_id)

    async def suppressing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/x":
            with suppress():
                await traced.app(scope, receive, send)
        else:
            await traced.app(scope, receive, send)

    with TestClient(suppressing) as http:
        assert http.get("/x").json() == 0
        assert sample(http, "app_request_count_total", route="/x") == 1
    assert traced.spans == ()


def test_accepted_websocket_is_told_its_trace() -> None:
    """As any other answer, beside the headers of the application."""
    traced = TracedApp(config=quiet_config(trace_response=True))

    @traced.app.websocket("/room")
    async def room(socket: WebSocket) -> None:
        await socket.accept(headers=[(b"x-room", b"1")])
        await socket.close()

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/room", "query_string": b"", "headers": []}
    asyncio.run(traced.app(scope, receive, send))
    context = traced.server_spans[0].context
    name = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert sent[0]["headers"] == [(b"x-room", b"1"), (b"traceresponse", name.encode())]


def test_handler_of_unforeseen_errors_runs_once_in_the_requests_trace(traced: TracedApp) -> None:
    """Its answer's status is the span's, and the exception is recorded all the same."""
    seen: list[int] = []

    @traced.app.exception_handler(Exception)
    async def answer(request: Request, error: Exception) -> Response:
        seen.append(trace_id())
        return PlainTextResponse("sorry", 501)

    @traced.app.get("/x")
    def crash() -> None:
        seen.append(trace_id())
        raise ValueError("on purpose")

    with traced.browser() as http:
        assert http.get("/x").status_code == 501
    (span,) = traced.server_spans
    assert seen == [span.context.trace_id] * 2
    assert (span.attributes or {})["http.response.status_code"] == 501
    assert [event.name for event in span.events] == ["exception"]


def test_application_may_change_its_scope(traced: TracedApp) -> None:
    """What the span says was read before; what the application put there is not."""

    @traced.app.middleware("http")
    async def change(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        request.scope.update(headers=[], path="/other", method="BREW", client=None)
        return answer

    traced.app.get("/x")(lambda: 1)
    with traced.browser() as http:
        assert http.get("/x").status_code == 200
    (span,) = traced.server_spans
    attributes = dict(span.attributes or {})
    assert span.name == "GET /x"
    assert attributes["url.path"] == "/x"
    assert attributes["server.address"] == "testserver"
    assert attributes["http.response.status_code"] == 200


def test_route_may_need_what_a_middleware_puts_into_the_scope(traced: TracedApp) -> None:
    """It is matched where it is served, and not before."""

    class OfTenant(APIRoute):
        """Matches for tenants alone."""

        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            """Looks into the scope."""
            return super().matches(scope) if scope["tenant"] == "acme" else (Match.NONE, {})

    router = APIRouter(route_class=OfTenant)
    router.get("/tenants/{name}")(lambda name: name)
    traced.app.include_router(router)

    @traced.app.middleware("http")
    async def find_tenant(request: Request, call_next: Any) -> Any:
        request.scope["tenant"] = request.headers.get("x-tenant")
        return await call_next(request)

    with traced.browser() as http:
        assert http.get("/tenants/x", headers={"x-tenant": "acme"}).status_code == 200
        assert http.get("/tenants/x").status_code == 404
    assert [span.name for span in traced.server_spans] == ["GET /tenants/{name}", "GET"]


def test_application_with_a_stack_of_its_own_is_measured() -> None:
    """It need not begin with Starlette's."""

    class Bare(FastAPI):
        """Has no middleware at all."""

        def build_middleware_stack(self) -> Any:
            """Answers everything."""
            return PlainTextResponse("bare")

    traced = TracedApp(Bare())
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        messages.append(message)

    asyncio.run(traced.app({"type": "http", "method": "GET", "path": "/x", "headers": []}, receive, send))
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert [span.name for span in traced.server_spans] == ["GET"]


def test_application_is_freed_when_nobody_needs_it() -> None:
    """Neither the client, which may be the default, keeps it, nor a request that it served."""
    app = FastAPI()
    app.get("/x")(lambda: 1)
    client = setup_telemetry(app, quiet_config())
    with TestClient(app) as http:
        assert http.get("/x").status_code == 200
    reference = weakref.ref(app)
    del app, http
    gc.collect()
    assert reference() is None
    client.shutdown(1)
