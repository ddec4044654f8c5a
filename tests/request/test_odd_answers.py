"""Answers that come twice, fail late, or fail where background work would: each request counts once."""

import asyncio
from collections.abc import Iterator
from contextvars import Context, copy_context
from typing import Any

import pytest
from fastapi import Depends, WebSocket
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.types import Message
from support.shop_app import sample
from support.traced_app import TracedApp

START = {"type": "http.response.start", "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


@pytest.fixture
def traced() -> TracedApp:
    """An application with no routes yet."""
    return TracedApp()


def request(app: Any, kind: str = "http") -> Any:
    """Returns a request for /x to a server that takes whatever the application sends."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": kind, "method": "GET", "path": "/x", "query_string": b"", "headers": []}
    return app(scope, receive, send)


def count_of(traced: TracedApp, name: str = "app_request_count_total", **labels: str) -> float:
    """Returns what is counted of /x."""
    with traced.browser() as http:
        return sample(http, name, route="/x", **labels) or 0


def test_first_of_two_statuses_is_the_answers(traced: TracedApp) -> None:
    """A server takes no second one."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in ({**START, "status": 200}, {**START, "status": 500}, BODY):
            await send(message)

    traced.app.add_route("/x", lambda _: answer)  # type: ignore[arg-type,return-value]
    asyncio.run(request(traced.app))
    assert [(span.attributes or {})["http.response.status_code"] for span in traced.server_spans] == [200]
    assert count_of(traced, status_code="200") == 1


def test_answer_that_ends_twice_is_counted_once(traced: TracedApp) -> None:
    """And ends with the first."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in ({**START, "status": 200}, BODY, BODY):
            await send(message)

    traced.app.add_route("/x", lambda _: answer)  # type: ignore[arg-type,return-value]
    asyncio.run(request(traced.app))
    assert count_of(traced) == 1


def test_request_that_fails_after_its_answer_is_counted_once(traced: TracedApp) -> None:
    """It was when the answer ended; its error is known only now."""

    def closing() -> Iterator[None]:
        yield
        raise LookupError("when it is closed")

    traced.app.get("/x", dependencies=[Depends(closing)])(lambda: 1)
    with traced.browser() as http:
        http.get("/x")
    assert count_of(traced) == 1
    assert count_of(traced, "app_error_count_total", error_type="LookupError") == 1


def test_background_task_that_an_endpoint_runs_itself_is_part_of_the_answer(traced: TracedApp) -> None:
    """Its failure is the request's."""

    def fail() -> None:
        raise LookupError("before the answer")

    @traced.app.get("/x")
    async def run() -> None:
        await BackgroundTask(fail)()

    with traced.browser() as http:
        assert http.get("/x").status_code == 500
    assert traced.names == ["GET /x"]
    assert (traced.spans[0].attributes or {})["error.type"] == "LookupError"
    assert count_of(traced, "app_error_count_total", error_type="LookupError") == 1


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_request_in_the_context_of_one_that_was_never_answered_begins_a_trace(
    kind: str, traced: TracedApp
) -> None:
    """A WebSocket has no last byte, and some applications send none."""
    contexts: list[Context] = []

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        contexts.append(copy_context())

    @traced.app.websocket("/x")
    async def room(socket: WebSocket) -> None:
        contexts.append(copy_context())
        await socket.close()

    traced.app.add_route("/x", lambda _: nothing)  # type: ignore[arg-type,return-value]
    traced.app.get("/y")(lambda: PlainTextResponse("y"))

    async def run() -> None:
        await request(traced.app, kind)
        await asyncio.create_task(request(traced.app), context=contexts[0])

    asyncio.run(run())
    assert [span.parent for span in traced.server_spans] == [None, None]
