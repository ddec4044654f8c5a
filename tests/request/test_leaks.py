"""Thousands of requests at once, each with a number: none finds anything of another one in its context."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from support.raw_client import Answer, ask, request_of
from support.tagged_app import KINDS, TaggedApp, trace_of
from support.traced_app import TracedApp, quiet_config
from support.uvicorn_thread import serving_here
from websockets.asyncio.client import connect

CONNECTIONS, ROOMS = 100, 10
FIRST_ROOM = 1_000_000
SERVERS = [({"http": "httptools", "loop": "uvloop"}, 100), ({"http": "h11", "loop": "asyncio"}, 10)]
"""Uvicorn's parsers and loops, and how many requests each connection sends."""


class Lines(logging.Handler):
    """Keeps the trace id of every line by the number that it starts with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        number = record.args[0] if record.name == "tagged" else str(record.args[2]).rpartition("/")[2]  # type: ignore[index]
        self.seen.append((int(number), record.otelTraceID))  # type: ignore[attr-defined,call-overload]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines of the application, and those of uvicorn's access log."""
    handler = Lines()
    loggers = [logging.getLogger(name) for name in ("tagged", "uvicorn.access")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # pytest would keep the text of each
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def kind_of(number: int) -> str:
    """What the request of this number asks for: connections begin with each, and go on with the next."""
    return "room" if number >= FIRST_ROOM else KINDS[(number + number // 100) % len(KINDS)]


def is_tagged(number: int) -> bool:
    """Whether the caller gives the request of this number a trace and baggage; others must get none."""
    return number % 5 != 0


def headers_of(number: int) -> dict[str, str]:
    """The caller's trace and baggage."""
    if not is_tagged(number):
        return {}
    return {"traceparent": f"00-{trace_of(number)}-{number + 1:016x}-01", "baggage": f"number={number}"}


def found(answer: Answer) -> list[dict[str, Any]]:
    """Returns what a request found: an answer is a list, or a line for each part."""
    assert answer.status == 200, answer
    if answer.body.startswith(b"["):
        return list(json.loads(answer.body))
    return [json.loads(line) for line in answer.body.splitlines()]


def expected(number: int, trace: str) -> dict[str, Any]:
    """Returns what a request finds wherever it looks."""
    is_live = kind_of(number) == "live"
    return {
        "trace": trace,
        "baggage": None if is_live or not is_tagged(number) else str(number),
        "tag": number,
        "is instrumented": not is_live,
        "has client": not is_live,
    }


async def load(port: int, each: int) -> dict[int, list[dict[str, Any]]]:
    """Sends every request; returns what each found, by its number."""
    seen: dict[int, list[dict[str, Any]]] = {}

    async def connection(index: int) -> None:
        numbers = range(index * 100, index * 100 + each)
        requests = [request_of(f"/{kind_of(number)}/{number}", **headers_of(number)) for number in numbers]
        # Every other connection sends ten at once.
        answers = await ask(port, requests, ahead=10 if index % 2 else 1)
        seen.update(zip(numbers, map(found, answers), strict=True))

    async def room(number: int) -> None:
        url = f"ws://127.0.0.1:{port}/room/{number}"
        async with connect(url, additional_headers=headers_of(number)) as socket:
            seen[number] = []
            for _ in range(20):
                await socket.send("x")
                seen[number].append(json.loads(await socket.recv()))

    async with asyncio.TaskGroup() as group:
        for index in range(CONNECTIONS):
            group.create_task(connection(index))
        for number in range(ROOMS):
            group.create_task(room(FIRST_ROOM + number))
    return seen


def of_trace(spans: tuple[ReadableSpan, ...]) -> dict[str, list[ReadableSpan]]:
    """Returns spans by trace id."""
    traces: dict[str, list[ReadableSpan]] = {}
    for span in spans:
        traces.setdefault(f"{span.context.trace_id:032x}", []).append(span)
    return traces


@pytest.mark.parametrize(("server", "each"), SERVERS, ids=["httptools", "h11"])
def test_no_request_finds_anything_of_another(server: dict[str, str], each: int, lines: Lines) -> None:
    """Kept connections, pipelines, threads, streams, background work and WebSockets beside one another."""
    traced = TracedApp(config=quiet_config(excluded_urls=("/live/*",)))
    tagged = TaggedApp(traced.app)
    with serving_here(traced.app, **server) as port:
        seen = asyncio.run(load(port, each))
    for number, looks in tagged.later.items():
        seen[number] += looks
    assert len(seen) == CONNECTIONS * each + ROOMS
    traces = {number: looks[0]["trace"] for number, looks in seen.items()}
    strange = {
        (kind_of(number), number): looks
        for number, looks in seen.items()
        if any(look | expected(number, traces[number]) != look for look in looks)
    }
    assert strange == {}
    check_spans(traced, {number: len(looks) for number, looks in seen.items()}, traces)
    lines_of = {(number, trace.zfill(32)) for number, trace in lines.seen}
    assert lines_of == set(traces.items())


def check_spans(traced: TracedApp, looks: dict[int, int], traces: dict[int, str]) -> None:
    """Each request's trace has its own spans and no others: the server's, and a child for each look."""
    spans_of = of_trace(traced.spans)
    for number, trace in traces.items():
        if kind_of(number) == "live":
            assert trace == "0" * 32
            continue
        spans = spans_of.pop(trace)
        (server,) = [span for span in spans if span.kind is SpanKind.SERVER]
        parent = server.parent and (f"{server.parent.trace_id:032x}", server.parent.span_id)
        assert parent == ((trace_of(number), number + 1) if is_tagged(number) else None)
        children = [span for span in spans if span.name == "child"]
        assert [(span.attributes or {})["number"] for span in children] == [number] * looks[number]
        above = {span.context.span_id for span in spans if span.name != "child"}
        assert {span.parent and span.parent.span_id for span in children} <= above
    assert spans_of == {}
