"""Sends one request of a given shape to an application, as a server would, and keeps what came of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message

HEADERS = ((b"host", b"shop.example"), (b"user-agent", b"tester/1"))


@dataclass(frozen=True, slots=True)
class Shape:
    """One request, and what its server and client do.

    Args:
        name: names it in the table of differences.
        target: path and query as in the request line.
        headers: those beside `Host` and `User-Agent`.
        usual: `Host` and `User-Agent`.
        received: what the server has for the application; then it waits.
        scope: added to the scope, or put over it.
        without: keys that the scope lacks.
        fails: which message the server cannot send, because the client has left.
        cancelled: which message the server gives the request up after.
        app: the application, by its name.
    """

    name: str
    target: str = "/any"
    method: str = "GET"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    usual: tuple[tuple[bytes, bytes], ...] = HEADERS
    received: tuple[Message, ...] = ({"type": "http.request", "body": b"", "more_body": False},)
    scope: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    fails: int | None = None
    cancelled: int | None = None
    app: str = "shop"

    @property
    def full_scope(self) -> dict[str, Any]:
        """A new scope, with `path` and `raw_path` as uvicorn makes them."""
        raw, _, query = self.target.encode().partition(b"?")
        root = self.scope.get("root_path", "")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("10.1.2.3", 50_000),
            "scheme": "http",
            "method": self.method,
            "root_path": root,
            "path": root + unquote(raw.decode()),
            "raw_path": root.encode() + raw,
            "query_string": query,
            "headers": [*self.usual, *self.headers],
            "state": {},
            **self.scope,
        }
        if scope["type"] == "websocket":
            scope.pop("method")
        return {key: value for key, value in scope.items() if key not in self.without}


async def _serve(app: ASGIApp, shape: Shape) -> tuple[list[Message], str | None]:
    waiting, sent, raised = list(shape.received), list[Message](), None

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        if len(sent) == shape.fails:
            raise BrokenPipeError("the client has left")
        sent.append(message)
        if len(sent) == shape.cancelled:
            task.cancel()
            await asyncio.sleep(0)

    async def run() -> None:
        nonlocal raised
        try:
            await app(shape.full_scope, receive, send)
        except BaseException as error:  # noqa: BLE001 - some would end the event loop
            raised = type(error).__name__

    async with asyncio.timeout(60):
        task = asyncio.create_task(run())
        await task
    return sent, raised


def outcome(app: ASGIApp, shape: Shape) -> tuple[list[Message], str | None]:
    """Returns the messages that the application sent, and the type of what it raised."""
    return asyncio.run(_serve(app, shape))


def describe(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Returns what can be compared of the server span, as JSON has it; an attribute is a key of its own."""
    servers = [span for span in spans if span.kind is SpanKind.SERVER]
    seen: dict[str, Any] = {"server spans": len(servers)}
    if len(servers) != 1:
        return seen
    (span,) = servers
    parent = span.parent
    seen |= {
        "name": span.name,
        "status": span.status.status_code.name,
        "description": span.status.description,
        "parent": parent and [f"{parent.trace_id:032x}", f"{parent.span_id:016x}", parent.is_remote],
        "tracestate": dict(parent.trace_state) if parent else {},
        "exceptions": [(event.attributes or {}).get("exception.type") for event in span.events],
    }
    for key, value in (span.attributes or {}).items():
        seen[key] = list(value) if isinstance(value, tuple) else value
    return seen
