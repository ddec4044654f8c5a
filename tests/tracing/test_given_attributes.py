"""Attributes that a request's span is given at its start and its end: none is lost, whoever comes between."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind
from support.span_worlds import World, make_our_provider

from telemetry.export.otlp.attributes import Given, SharedAttributes
from telemetry.export.otlp.spans import Encoder


def start_with(given: Given) -> Any:
    """Starts a span as the library's middleware does."""
    tracer: Any = World(make_our_provider).tracer
    span, _ = tracer.open("GET", Context(), SpanKind.SERVER, 1)
    span.begin_with_given(given, Context())
    return span


def test_ended_request_is_read_by_several_threads_at_once() -> None:
    """The exporter and a third party see all of it, whoever comes first."""
    shared, end = SharedAttributes({"s": 1}), SharedAttributes({"e": 2})
    for _ in range(100):
        span = start_with((shared, {"o": 3}))
        span.end_with("GET", "GET /", end, 2)
        seen: list[dict[str, int]] = []

        def look(span: Any = span, seen: list[dict[str, int]] = seen) -> None:
            seen.append(dict(span.attributes))

        def encode(span: Any = span, seen: list[dict[str, int]] = seen) -> None:
            message = ExportTraceServiceRequest.FromString(Encoder().encode([span]).payload)
            (read,) = message.resource_spans[0].scope_spans[0].spans
            seen.append({each.key: each.value.int_value for each in read.attributes})

        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(work) for work in (look, encode, look)]:
                done.result()
        assert seen == [{"s": 1, "o": 3, "e": 2}] * 3


class Meddling(dict[str, int]):
    """Attributes during whose copying something else gets to run, as a finaliser or a signal handler may."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__({"shared": 1})
        self._meddle = meddle
        self._has_meddled = False

    def keys(self) -> Any:
        """Is called by the copying."""
        if not self._has_meddled:
            self._has_meddled = True
            self._meddle()
        return super().keys()

    def __iter__(self) -> Any:
        """Makes `dict.update` call `keys`."""
        return super().__iter__()


@pytest.mark.parametrize("reads", [True, False])
def test_whoever_gets_between_loses_no_attribute(*, reads: bool) -> None:
    """The lock is reentrant, so that the same thread may get there again."""
    spans: list[Any] = []

    def meddle() -> None:
        if reads:
            assert spans[0].attributes["own"] == 2
        else:
            spans[0].set_attribute("meddled", 3)

    shared = SharedAttributes(Meddling(meddle))
    span = start_with((shared, {"own": 2}))
    spans.append(span)
    span.set_attribute("user", 4)
    span.end_with("GET", "GET /", SharedAttributes({"end": 5}), 2)
    expected = {"shared": 1, "own": 2, "user": 4, "end": 5} | ({} if reads else {"meddled": 3})
    assert dict(span.attributes) == expected
    message = ExportTraceServiceRequest.FromString(Encoder().encode([span]).payload)
    (read,) = message.resource_spans[0].scope_spans[0].spans
    assert {each.key: each.value.int_value for each in read.attributes} == expected
