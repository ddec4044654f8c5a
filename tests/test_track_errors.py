"""track_errors counts and records each error once, where it arose."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.trace import StatusCode
from support.decorated import ORDERS, Observed, each_kind, each_order, fail, make, stack
from support.functions import BoomError, run

from telemetry.decorators import measure_performance, trace_function, track_errors


@each_kind
def test_error_is_counted_and_recorded(observed: Observed, kind: str) -> None:
    """An exception that leaves the function is counted and recorded on the current outer span."""
    with observed.client.start_span("caller"), suppress(BoomError):
        run(track_errors(make(kind, fail)))
    assert observed.errors() == {(kind, "BoomError"): 1}
    assert observed.exception_events() == [("caller", f"{BoomError.__module__}.BoomError")]
    assert observed.spans["caller"].status.status_code is StatusCode.UNSET


def test_success_is_no_error(observed: Observed) -> None:
    """A successful call counts no error."""
    assert track_errors(lambda: 42)() == 42
    assert observed.errors() == {}


def test_ignored_error_is_neither_counted_nor_recorded(observed: Observed) -> None:
    """An ignored exception passes and is left to the outer functions."""

    @track_errors
    @measure_performance
    def outer() -> None:
        inner()

    @track_errors(ignore=(KeyError, BoomError))
    def inner() -> None:
        fail()

    with observed.client.start_span("caller"):
        with suppress(BoomError):
            inner()
        assert observed.errors() == {}
        with suppress(BoomError):
            outer()
    assert observed.errors() == {("outer", "BoomError"): 1}
    assert len(observed.exception_events()) == 1


def test_ignoring_what_is_no_exception_is_refused() -> None:
    """A mistake in `ignore` raises at decoration, not when the function fails."""
    with pytest.raises(TypeError):
        track_errors(ignore=["KeyError"])  # type: ignore[call-overload]


@each_kind
@each_order
def test_stacked_in_any_order(observed: Observed, kind: str, order: Any) -> None:
    """The order of decorators on a function does not matter, and the error is recorded once."""
    with observed.client.start_span("caller"), suppress(BoomError):
        run(stack(order, make(kind, fail)))
    assert observed.errors() == {(kind, "BoomError"): 1}
    assert observed.calls() == {(kind, "error"): 1}
    assert observed.exception_events() == [(kind, f"{BoomError.__module__}.BoomError")]
    assert observed.spans[kind].status.status_code is StatusCode.ERROR


@each_kind
@each_order
def test_nested_functions_record_an_error_once(observed: Observed, kind: str, order: Any) -> None:
    """The innermost function records the error; every span that it leaves has error status."""

    def innermost() -> None:
        fail()

    def middle() -> None:
        run(stack(order[::-1], make(kind, stack(order, innermost))))

    with suppress(BoomError):
        stack(order, middle)()
    assert observed.errors() == {("innermost", "BoomError"): 1}
    assert observed.exception_events() == [("innermost", f"{BoomError.__module__}.BoomError")]
    assert {name: span.status.status_code for name, span in observed.spans.items()} == dict.fromkeys(
        ["innermost", kind, "middle"], StatusCode.ERROR
    )
    assert observed.calls() == dict.fromkeys(
        [("innermost", "error"), (kind, "error"), ("middle", "error")], 1
    )


def test_error_outside_the_spans_is_recorded_by_the_first_span(observed: Observed) -> None:
    """Without a current span inside, the first outer function with a span records the event."""

    @trace_function
    def outer() -> None:
        token = context.attach(context.Context())
        try:
            track_errors(fail)()
        finally:
            context.detach(token)

    with suppress(BoomError):
        outer()
    assert observed.errors() == {("fail", "BoomError"): 1}
    assert observed.exception_events() == [("outer", f"{BoomError.__module__}.BoomError")]


def test_same_exception_raised_again_counts_again(observed: Observed) -> None:
    """A kept exception that is raised in a later call is an error of that call."""
    kept = BoomError()

    @trace_function
    @track_errors
    def raise_kept() -> None:
        raise kept

    for _ in range(2):
        with suppress(BoomError):
            raise_kept()
    assert observed.errors() == {("raise_kept", "BoomError"): 2}
    assert [len(span.events) for span in observed.exporter.get_finished_spans()] == [1, 1]


def test_handled_error_is_not_the_callers(observed: Observed) -> None:
    """A caller that handles the exception succeeded."""

    def cope() -> str:
        with suppress(BoomError):
            stack(ORDERS[0], fail)()
        return "coped"

    assert stack(ORDERS[0], cope)() == "coped"
    assert observed.errors() == {("fail", "BoomError"): 1}
    assert observed.spans["cope"].status.status_code is StatusCode.UNSET
    assert observed.calls() == {("fail", "error"): 1, ("cope", "ok"): 1}


def test_error_of_gathered_tasks_is_recorded_once(observed: Observed) -> None:
    """The exception passes from tasks to the awaiting function; each error counts where it arose."""

    async def failing() -> None:
        await asyncio.sleep(0)
        fail()

    async def together() -> None:
        await asyncio.gather(*(stack(ORDERS[0], failing)() for _ in range(2)))

    with suppress(BoomError):
        asyncio.run(stack(ORDERS[0], together)())
    assert observed.errors() == {("failing", "BoomError"): 2}
    assert observed.spans["together"].status.status_code is StatusCode.ERROR
