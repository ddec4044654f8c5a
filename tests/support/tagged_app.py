"""An application each of whose requests carries a number, and tells all that it finds in its context.

Whoever sends the requests can then say for each one whether it found its own trace, baggage, context variable
and log fields, or another's.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import baggage
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import get_current_span
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from telemetry.current import find_client
from telemetry.decorators import trace_function

logger = logging.getLogger("tagged")
tag: ContextVar[int | None] = ContextVar("tag", default=None)

KINDS = ("async", "sync", "stream", "sync-stream", "background", "sync-background", "relayed", "live")
"""What requests ask for: `/{kind}/{number}`. Those for `live` are to be excluded."""


def trace_of(number: int) -> str:
    """The trace id that a caller gives the request of this number."""
    return f"{number + 1:032x}"


def look(number: int, where: str) -> dict[str, Any]:
    """Returns what the context says here, logs a line, and makes a child span."""
    logger.info("%d %s", number, where)
    _child(number)
    return {
        "where": where,
        "trace": f"{get_current_span().get_span_context().trace_id:032x}",
        "baggage": baggage.get_baggage("number"),
        "tag": tag.get(),
        "is instrumented": is_instrumentation_enabled(),
        "has client": find_client() is not None,
    }


@trace_function(name="child")
def _child(number: int) -> None:
    get_current_span().set_attribute("number", number)


class TaggedApp:
    """The application, and what requests found after their answers.

    Args:
        app: gets the routes.
    """

    def __init__(self, app: FastAPI) -> None:
        self.later: dict[int, list[dict[str, Any]]] = {}
        """By number: what background work found, and what a WebSocket found at its end."""
        app.get("/async/{number}")(self._async)
        app.get("/sync/{number}")(self._sync)
        app.get("/stream/{number}")(self._stream)
        app.get("/sync-stream/{number}")(self._sync_stream)
        app.get("/background/{number}")(self._background)
        app.get("/sync-background/{number}")(self._sync_background)
        app.get("/live/{number}")(self._async)
        app.websocket("/room/{number}")(self._room)
        app.mount(
            "/relayed",
            Starlette(
                routes=[Route("/{number:int}", self._relayed)],
                middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._relay)],
            ),
        )

    async def _async(self, number: int) -> list[dict[str, Any]]:
        tag.set(number)
        seen = [look(number, "first")]
        for _ in range(number % 3):
            await asyncio.sleep(0)
        task = asyncio.create_task(self._inner(number))
        return [*seen, await task, look(number, "last")]

    async def _inner(self, number: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return look(number, "task")

    def _sync(self, number: int) -> list[dict[str, Any]]:
        tag.set(number)
        return [look(number, "thread"), look(number, "thread, later")]

    async def _stream(self, number: int) -> StreamingResponse:
        tag.set(number)

        async def parts() -> AsyncIterator[str]:
            for step in range(3):
                yield json.dumps(look(number, f"step {step}")) + "\n"
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    def _sync_stream(self, number: int) -> StreamingResponse:
        def parts() -> Iterator[str]:
            for step in range(2):
                yield json.dumps({**look(number, f"step {step} in a thread"), "tag": number}) + "\n"

        return StreamingResponse(parts())

    async def _background(self, number: int, tasks: BackgroundTasks) -> list[dict[str, Any]]:
        tag.set(number)
        tasks.add_task(self._work, number)
        return [look(number, "before the work")]

    async def _work(self, number: int) -> None:
        await asyncio.sleep(0)
        self.later.setdefault(number, []).append(look(number, "background"))

    def _sync_background(self, number: int, tasks: BackgroundTasks) -> list[dict[str, Any]]:
        tag.set(number)
        tasks.add_task(self._sync_work, number)
        return [look(number, "before the work")]

    def _sync_work(self, number: int) -> None:
        self.later.setdefault(number, []).append({**look(number, "background thread"), "tag": number})

    async def _relay(self, request: StarletteRequest, call_next: RequestResponseEndpoint) -> Response:
        tag.set(int(request.url.path.rpartition("/")[2]))
        return await call_next(request)

    async def _relayed(self, request: StarletteRequest) -> Response:
        number = request.path_params["number"]
        tag.set(number)
        await asyncio.sleep(0)
        return JSONResponse([look(number, "relayed")])

    async def _room(self, socket: WebSocket, number: int) -> None:
        await socket.accept()
        tag.set(number)
        async for _ in socket.iter_text():
            await socket.send_json(look(number, "room"))
        self.later.setdefault(number, []).append(look(number, "left room"))
