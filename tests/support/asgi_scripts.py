"""Applications and servers of every kind that ASGI allows, and some that it does not, for properties.

A script says what an application does, message by message, and what its server does. It is played twice, with
telemetry and without, and what both sides saw is compared.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect


class Text(str):
    """A string of a kind of its own, as some servers have them."""

    __slots__ = ()


class UnprintableError(Exception):
    """Cannot be printed."""

    def __str__(self) -> str:
        """Fails."""
        raise RuntimeError

    __repr__ = __str__


class NamelessError(Exception):
    """Has a class without a module."""


NamelessError.__module__ = None  # type: ignore[assignment]

ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("x"),
    lambda: ConnectionResetError("x"),
    lambda: WebSocketDisconnect(1001),
    lambda: ExceptionGroup("several", [ValueError("x"), ExceptionGroup("more", [OSError("y")])]),
    lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError("x")]),
    UnprintableError,
    NamelessError,
    lambda: StopAsyncIteration("x"),
    lambda: asyncio.CancelledError("x"),
    GeneratorExit,
    KeyboardInterrupt,
    lambda: SystemExit(3),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    lambda: ValueError("lone surrogate \ud800", b"\xff", object),
)


@dataclass(frozen=True)
class Script:
    """What the application and its server do.

    Args:
        steps: of the application: a message to send, an index of `ERRORS` to raise, or None to receive.
        suppresses: the application goes on where the server's `send` failed.
        send_fails: which of the messages the server cannot send, and with which error.
        received: what the server has for the application.
    """

    steps: list[Message | int | None]
    suppresses: bool = False
    send_fails: dict[int, int] = field(default_factory=dict)
    received: list[Message] = field(default_factory=list)


@dataclass
class Seen:
    """What both sides saw, with nothing in it that differs from run to run."""

    sent: list[Any] = field(default_factory=list)
    received: list[Any] = field(default_factory=list)
    scope: dict[str, Any] = field(default_factory=dict)
    raised: list[Any] = field(default_factory=list)


class _Play:
    """A script on its way: the application's side and the server's."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._waiting = list(script.received)
        self.seen = Seen()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does what the script says."""
        self.seen.scope = {key: _plain(value) for key, value in scope.items() if "telemetry" not in key}
        for step in self._script.steps:
            try:
                await self._do(step, receive, send)
            except OSError as error:
                self.seen.received.append(_told(error))
                if not self._script.suppresses:
                    raise

    async def _do(self, step: Any, receive: Receive, send: Send) -> None:
        if step is None:
            self.seen.received.append(await receive())
        elif isinstance(step, int):
            error = ERRORS[step]()
            raise error
        else:
            await send(_fresh(step))

    async def receive(self) -> Message:
        """Gives what there is, then says that the client has left."""
        await asyncio.sleep(0)
        return self._waiting.pop(0) if self._waiting else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Takes anything, or fails as the script says."""
        self.seen.sent.append(_plain(message))
        await asyncio.sleep(0)
        failure = self._script.send_fails.get(len(self.seen.sent) - 1)
        if failure is not None:
            error = ERRORS[failure]()
            raise error


def play(script: Script, scope: dict[str, Any], wrap: Callable[[ASGIApp], ASGIApp]) -> Seen:
    """Plays a script; returns what both sides saw.

    Args:
        script: what is done.
        scope: given to the application as it is.
        wrap: puts telemetry around the application, or not.
    """
    playing = _Play(script)

    async def serve() -> None:
        try:
            await wrap(playing.app)(scope, playing.receive, playing.send)
        except BaseException as error:  # noqa: BLE001 - a server must not end here
            playing.seen.raised.append(_told(error))

    asyncio.run(serve())
    return playing.seen


def _told(error: BaseException) -> tuple[str, tuple[str, ...]]:
    return type(error).__name__, tuple(ascii(each) for each in error.args if not isinstance(each, Exception))


def _fresh(message: Any) -> Any:
    """Returns a message whose headers can be read once, if they are marked so."""
    if isinstance(message, dict) and isinstance(message.get("headers"), frozenset):
        return {**message, "headers": (pair for pair in sorted(message["headers"]))}
    return message


def _plain(value: Any) -> Any:
    """Returns a value that can be compared: iterators are read."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return ["read once", *value] if isinstance(value, Iterator) else value


_header_names = st.one_of(
    st.sampled_from([b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage", b"traceresponse"]),
    st.binary(max_size=8),
)
_pairs = st.tuples(
    _header_names, st.one_of(st.binary(max_size=20), st.just(f"00-{'a' * 32}-{'b' * 16}-01".encode()))
)
headers = st.one_of(
    st.lists(_pairs, max_size=5),
    st.lists(_pairs.map(list), max_size=3),
    st.lists(_pairs, max_size=3).map(tuple),
    st.frozensets(_pairs, max_size=3),
)
"""A frozenset stands for an iterator, which can be read once."""

texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "/", "//", "/x/%2F", "/\ud800", "/é"]), st.text().map(Text)
)
_addresses = st.one_of(
    st.none(),
    st.tuples(texts, st.integers(0, 70_000)),
    st.tuples(texts, st.none()),
    st.tuples(texts, st.just(1)).map(list),
    st.just(()),
    st.just(("/run/x.sock",)),
)
_required = {"path": texts, "query_string": st.binary(max_size=20), "headers": headers}
_optional = {
    "asgi": st.just({"version": "3.0"}),
    "http_version": st.sampled_from(["1.0", "1.1", "2", "3", "", None]),
    "scheme": st.one_of(st.sampled_from(["http", "https", "ws", ""]), texts),
    "raw_path": st.one_of(st.none(), st.binary(max_size=9)),
    "root_path": st.one_of(st.none(), texts),
    "client": _addresses,
    "server": _addresses,
    "extensions": st.one_of(st.none(), st.just({"http.response.trailers": {}, "tls": None})),
    "state": st.just({"x": 1}),
}
_http = st.fixed_dictionaries(
    {
        "type": st.just("http"),
        "method": st.one_of(texts, st.sampled_from(["GET", "POST"]), texts.map(Text)),
        **_required,
    },
    optional=_optional,
)
_websocket = st.fixed_dictionaries(
    {"type": st.just("websocket"), **_required}, optional={**_optional, "subprotocols": st.just(["x"])}
)
_bare = st.sampled_from([{"type": "http", "method": "GET", "path": "/"}, {"type": "websocket", "path": "/"}])
scopes = st.one_of(_http, _websocket, _bare)
"""Scopes of requests, as complete as the server likes."""

_statuses = st.one_of(
    st.sampled_from([100, 200, 404, 500, HTTPStatus.OK]), st.integers(), st.sampled_from(["200", None])
)
_starts = st.sampled_from(["http.response.start", "websocket.http.response.start"])
_bodies = st.sampled_from(["http.response.body", "websocket.http.response.body"])
messages = st.one_of(
    st.fixed_dictionaries(
        {"type": _starts, "status": _statuses}, optional={"headers": headers, "trailers": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"type": _bodies},
        optional={"body": st.binary(max_size=5), "more_body": st.sampled_from([True, False, None, 1])},
    ),
    st.fixed_dictionaries(
        {"type": st.just("http.response.trailers"), "headers": headers},
        optional={"more_trailers": st.booleans()},
    ),
    st.sampled_from(
        [
            {"type": "http.response.pathsend", "path": "/x"},
            {"type": "http.response.start"},
            {"type": "http.response.start", "status": 200, "headers": None},
            {"type": "http.response.start", "status": 200, "headers": [(), (b"x",)]},
            {"type": "websocket.accept"},
            {"type": "websocket.accept", "subprotocol": "x", "headers": [(b"x", b"y")]},
            {"type": "websocket.send", "text": "x"},
            {"type": "websocket.close", "code": 1000},
            {"type": Text("http.response.debug"), "info": {}},
            {"type": None},
            {},
            None,
            "http.response.start",
        ]
    ),
)
"""What applications send: right, wrong, and out of order."""

scripts = st.builds(
    Script,
    steps=st.lists(st.one_of(messages, messages, st.none(), st.integers(0, len(ERRORS) - 1)), max_size=6),
    suppresses=st.booleans(),
    send_fails=st.dictionaries(st.integers(0, 3), st.integers(0, len(ERRORS) - 1), max_size=2),
    received=st.lists(
        st.sampled_from(
            [
                {"type": "http.request", "body": b"x", "more_body": True},
                {"type": "http.disconnect"},
                {"type": "websocket.connect"},
                {"type": "websocket.disconnect", "code": 1006},
            ]
        ),
        max_size=3,
    ),
)
"""What an application and its server do."""
