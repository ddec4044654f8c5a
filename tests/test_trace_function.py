"""trace_function creates a span for each call, current only in the body, however the call ends."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode
from support.decorated import ORDERS, Observed, each_kind, fail, make, stack
from support.functions import BoomError, run

from telemetry.decorators import trace_function


@each_kind
def test_each_call_has_a_span(observed: Observed, kind: str) -> None:
    """The span is named after the function and has its name as an attribute."""
    function = make(kind, lambda: 42)
    assert run(trace_function(function)) == 42
    (span,) = observed.exporter.get_finished_spans()
    assert span.name == f"{make.__module__}.make.<locals>.{kind}"
    assert span.attributes == {"code.function.name": span.name}
    assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)


def test_span_can_be_named_and_described(observed: Observed) -> None:
    """The user may set name, kind and attributes."""

    @trace_function("charge card", kind=SpanKind.CLIENT, attributes={"payment.provider": "acme"})
    def charge() -> None: ...

    charge()
    (span,) = observed.exporter.get_finished_spans()
    assert (span.name, span.kind) == ("charge card", SpanKind.CLIENT)
    assert span.attributes == {
        "payment.provider": "acme",
        "code.function.name": f"{__name__}.test_span_can_be_named_and_described.<locals>.charge",
    }


@each_kind
def test_span_is_current_in_the_body(observed: Observed, kind: str) -> None:
    """Spans started in the body are children of the call's span, in every step."""
    with observed.client.start_span("caller"):
        run(trace_function(make(kind, lambda: observed.client.tracer.start_span("child").end())))
    spans = observed.spans
    assert spans["child"].parent == spans[kind].context
    assert spans[kind].parent == spans["caller"].context


def test_span_does_not_leak_into_the_consumer(observed: Observed) -> None:
    """Between two steps the consumer's span is current; in the next step the body's is again."""
    current: list[tuple[str, Any]] = []

    def look(who: str) -> None:
        current.append((who, getattr(trace.get_current_span(), "name", "").rpartition(".")[2]))

    @trace_function
    def items() -> Iterator[int]:
        look("body")
        with observed.client.start_span("held across a step"):
            yield 1
            look("body")
        look("body")
        yield 2

    with observed.client.start_span("consumer"):
        for _ in items():
            look("consumer")
    assert current == [
        ("body", "items"),
        ("consumer", "consumer"),
        ("body", "held across a step"),
        ("body", "items"),
        ("consumer", "consumer"),
    ]


def test_span_does_not_leak_into_the_async_consumer(observed: Observed) -> None:
    """The same holds for an asynchronous generator, even when another task takes the next step."""
    current: list[str] = []

    @trace_function
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            current.append(getattr(trace.get_current_span(), "name", "").rpartition(".")[2])
            yield number

    async def main() -> None:
        body = items()
        for _ in range(2):
            with observed.client.start_span("consumer"):
                await asyncio.create_task(anext(body))  # type: ignore[arg-type] # a coroutine in fact
                current.append(getattr(trace.get_current_span(), "name", ""))
        await asyncio.create_task(body.aclose())  # type: ignore[attr-defined]

    asyncio.run(main())
    assert current == ["items", "consumer", "items", "consumer"]


@each_kind
def test_exception_makes_the_span_an_error(observed: Observed, kind: str) -> None:
    """The exception leaves unchanged, and the span records it."""
    with pytest.raises(BoomError, match="boom"):
        run(trace_function(make(kind, fail)))
    span = observed.spans[kind]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == f"{BoomError.__module__}.BoomError: boom"
    assert observed.exception_events() == [(kind, f"{BoomError.__module__}.BoomError")]


def test_exception_that_cannot_be_printed_still_ends_the_span(observed: Observed) -> None:
    """A broken __str__ loses the event but not the span, its status or the exception."""

    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise LookupError

    def fail_unprintably() -> None:
        raise UnprintableError

    with pytest.raises(UnprintableError):
        trace_function(fail_unprintably)()
    assert observed.spans["fail_unprintably"].status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_cancellation_is_no_error(observed: Observed, error: type[BaseException]) -> None:
    """A cancelled call's span has no error status, and the call is counted as cancelled."""

    def stop() -> None:
        raise error

    with pytest.raises(error):
        stack(ORDERS[0], stop)()
    span = observed.spans["stop"]
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert observed.errors() == {}
    assert observed.calls() == {("stop", "cancelled"): 1}


def test_cancelled_task_is_no_error(observed: Observed) -> None:
    """The same holds for a task that is cancelled while it waits."""

    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(stack(ORDERS[0], wait)())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert observed.spans["wait"].status.status_code is StatusCode.UNSET
    assert observed.errors() == {}
    assert observed.calls() == {("wait", "cancelled"): 1}


def test_closed_generator_is_no_error(observed: Observed) -> None:
    """A generator that its consumer closes or abandons ends its span without error status."""
    function = stack(ORDERS[0], make("generator", fail))
    closed, forgotten = function(), function()
    next(closed)
    next(forgotten)
    closed.close()
    del forgotten
    gc.collect()
    assert [span.status.status_code for span in observed.exporter.get_finished_spans()] == [
        StatusCode.UNSET,
        StatusCode.UNSET,
    ]
    assert observed.calls() == {("generator", "cancelled"): 2}


def test_closing_an_async_generator_elsewhere(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """Another task may close it: the span ends, and no foreign-context error is logged."""

    async def main() -> None:
        body = stack(ORDERS[0], make("async_generator", fail))()
        await anext(body)
        await asyncio.create_task(body.aclose())

    asyncio.run(main())
    assert observed.spans["async_generator"].status.status_code is StatusCode.UNSET
    assert observed.calls() == {("async_generator", "cancelled"): 1}
    assert caplog.records == []


def test_closing_a_coroutine_elsewhere(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine closed in another context ends its span and does not change that context."""

    async def wait() -> None:
        await asyncio.sleep(0)

    coroutine = trace_function(wait)()
    other_context = contextvars.copy_context()
    other_context.run(coroutine.send, None)
    before = context.get_current()
    coroutine.close()
    assert context.get_current() is before
    assert "wait" in observed.spans
    assert caplog.records == []


def test_baggage_stays_with_the_body(observed: Observed) -> None:
    """Context that a generator's body attaches is current in its next step, and only there."""

    @trace_function
    def items() -> Iterator[object]:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        yield 1
        yield baggage.get_baggage("tenant")
        context.detach(token)

    body = items()
    next(body)
    assert baggage.get_baggage("tenant") is None
    assert next(body) == "acme"
    body.close()  # type: ignore[attr-defined]
