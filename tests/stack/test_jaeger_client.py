"""Jaeger's answers: traces as they are shown, and malformed answers."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from stack.backends.jaeger import AsyncJaeger, JaegerError
from stack.backends.traces import traces_of


def span(span_id: str, parent: str = "", **changes: Any) -> dict[str, Any]:
    """Returns a span in Jaeger's JSON."""
    return {
        "traceId": "t1",
        "spanId": span_id,
        "parentSpanId": parent,
        "name": span_id,
        "kind": 2,
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "1005000000",
        **changes,
    }


def answer(*spans: dict[str, Any], service: str = "shop") -> dict[str, Any]:
    """Returns an answer with one service's spans."""
    name = {"key": "service.name", "value": {"stringValue": service}}
    return {
        "result": {"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": spans}]}]}
    }


def shape(found: dict[str, Any]) -> list[tuple[str, int]]:
    """Returns names and depths of the one trace."""
    (trace,) = traces_of(found)
    return [(each.name, depth) for each, depth in trace.spans]


def test_parents_come_before_their_children_and_siblings_by_their_start() -> None:
    """Their order in the answer does not matter."""
    late = {"startTimeUnixNano": "2000000000", "endTimeUnixNano": "2000000001"}
    found = answer(span("c", "a", **late), span("d", "b"), span("b", "a"), span("a"))
    assert shape(found) == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([span("b", "missing")], [("b", 0)]),
        ([span("a", "a")], [("a", 0)]),
        ([span("a", "b"), span("b", "a")], [("a", 0), ("b", 0)]),
    ],
)
def test_orphans_and_circles_are_shown_too(
    spans: list[dict[str, Any]], expected: list[tuple[str, int]]
) -> None:
    """An incomplete trace is still worth reading."""
    assert shape(answer(*spans)) == expected


def test_a_trace_deeper_than_pythons_stack_is_shown() -> None:
    """There is no recursion."""
    spans = [span("s0"), *(span(f"s{n}", f"s{n - 1}") for n in range(1, 3000))]
    assert shape(answer(*spans))[-1] == ("s2999", 2999)


def test_attributes_events_and_errors_are_words() -> None:
    """Every type that OTLP has is shown, and a status by number or by name."""
    attributes = [
        {"key": "text", "value": {"stringValue": "<b>"}},
        {"key": "number", "value": {"intValue": "7"}},
        {"key": "truth", "value": {"boolValue": True}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"doubleValue": 0.5}}]}}},
        {"key": "nothing", "value": {}},
    ]
    event = {"name": "exception", "timeUnixNano": "1002000000", "attributes": attributes[:1]}
    failed = span(
        "a", attributes=attributes, events=[event], status={"code": "STATUS_CODE_ERROR", "message": "no"}
    )
    (trace,) = traces_of(answer(failed))
    found = trace.root
    assert found.attributes == {
        "text": "<b>",
        "number": "7",
        "truth": "true",
        "list": "1, x",
        "map": "k=0.5",
        "nothing": "",
    }
    assert [(each.name, each.offset_ms) for each in found.events] == [("exception", 2.0)]
    assert (found.is_error, found.status_message, found.kind, found.duration_ms) == (
        True,
        "no",
        "server",
        5.0,
    )
    assert (trace.errors, trace.duration_ms, trace.services) == (1, 5.0, ("shop",))
    (numbered,) = traces_of(answer(span("a", status={"code": 2})))
    assert numbered.errors == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"startTimeUnixNano": None},
        {"endTimeUnixNano": None},
        {"kind": 9},
        {"events": [{}]},
    ],
    ids=str,
)
def test_an_odd_span_costs_no_other(changes: dict[str, Any]) -> None:
    """Jaeger accepts such spans, and omits zero and empty values from its JSON."""
    odd = {key: value for key, value in span("b", "a", **changes).items() if value is not None}
    (trace,) = traces_of(answer(span("a"), odd))
    assert {each.span_id for each, _ in trace.spans} == {"a", "b"}


@pytest.fixture
def odd_jaeger() -> Iterator[tuple[AsyncJaeger, dict[str, Any]]]:
    """A server that gives the answer in a dict, and notes the requested path there."""
    exchange: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exchange["path"] = self.path
            self.send_response(exchange["status"])
            self.send_header("Content-Type", exchange["type"])
            self.end_headers()
            self.wfile.write(exchange["body"].encode())

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield AsyncJaeger(server.server_port), exchange
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (200, "text/html", "<html>", "is not the API of this Jaeger"),
        (200, "text/plain", "{broken", "Jaeger answers 200 with no JSON"),
        (200, "text/plain", "[]", "Jaeger answers 200, but not as its API does"),
        (400, "text/plain", json.dumps({"error": {"message": "malformed id"}}), "answers 400: malformed id"),
        (500, "text/plain", json.dumps({"error": "oops"}), "answers 500: oops"),
    ],
)
def test_an_odd_answer_is_reported_in_words(
    status: int, kind: str, body: str, words: str, odd_jaeger: tuple[AsyncJaeger, dict[str, Any]]
) -> None:
    """The page shows the message and no stack trace."""
    jaeger, exchange = odd_jaeger
    exchange.update(status=status, type=kind, body=body)
    with pytest.raises(JaegerError, match=words):
        asyncio.run(jaeger.trace("abc"))


@pytest.mark.parametrize("trace_id", ["\0", "\n", "a?b#c"])
def test_what_is_no_id_is_asked_for_all_the_same(
    trace_id: str, odd_jaeger: tuple[AsyncJaeger, dict[str, Any]]
) -> None:
    """Somebody may type it; it is quoted and cannot change the requested address."""
    jaeger, exchange = odd_jaeger
    exchange.update(status=404, type="text/plain", body="{}")
    assert asyncio.run(jaeger.trace(trace_id)) is None
    assert exchange["path"] == f"/api/v3/traces/{quote(trace_id, safe='')}"


def test_an_unknown_trace_is_none_and_a_dead_jaeger_is_reported(
    odd_jaeger: tuple[AsyncJaeger, dict[str, Any]], free_port: int
) -> None:
    """A 404 is an answer; a refused connection is an error."""
    jaeger, exchange = odd_jaeger
    exchange.update(status=404, type="text/plain", body="{}")
    assert asyncio.run(jaeger.trace("abc")) is None
    with pytest.raises(JaegerError, match="Jaeger does not answer"):
        asyncio.run(AsyncJaeger(free_port).services())
