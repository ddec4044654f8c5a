"""A generator keeps its context from step to step, and shares all other variables with its consumer."""

import asyncio
import contextvars
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from fastapi.responses import StreamingResponse
from opentelemetry.trace import get_current_span
from support.traced_app import TracedApp
from support.using_client import use_client

from telemetry.decorators import trace_function
from telemetry.tracing.step_context import StepContext

user: contextvars.ContextVar[str] = contextvars.ContextVar("user")


@pytest.fixture
def traced() -> TracedApp:
    """An application whose spans stay in memory."""
    return TracedApp()


def in_a_thread(step: Callable[[], Any]) -> Any:
    """Runs a step in a thread with a copy of the context, as a server does that streams a generator."""
    results: list[Any] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: results.append(context.run(step)))
    thread.start()
    thread.join(10)
    return results[0]


def assert_are_below(
    traced: TracedApp, parent: str, children: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The spans have that parent, and none could not be detached."""
    spans = {span.name: span for span in traced.spans}
    assert [spans[name].parent and spans[name].parent.span_id for name in children] == [
        spans[parent].context.span_id
    ] * len(children)
    assert "detach" not in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
def test_rows_of_a_stream_are_siblings(
    is_async: bool, traced: TracedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Each row's span stays open while the row is on its way."""
    caplog.set_level(logging.WARNING)

    @trace_function(name="rows")
    def rows() -> Iterator[str]:
        for number in range(3):
            with traced.client.start_span(f"row{number}"):
                yield "x"

    @trace_function(name="rows")
    async def async_rows() -> AsyncIterator[str]:
        for number in range(3):
            with traced.client.start_span(f"row{number}"):
                await asyncio.sleep(0)
                yield "x"

    traced.app.get("/csv")(lambda: StreamingResponse(async_rows() if is_async else rows()))
    with traced.browser() as http:
        assert http.get("/csv").text == "xxx"
    assert_are_below(traced, "rows", ["row0", "row1", "row2"], caplog)


def test_steps_in_several_threads_have_one_context(
    traced: TracedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer's own span stays the consumer's."""

    @trace_function(name="rows")
    def rows() -> Iterator[str]:
        for number in range(3):
            with traced.client.start_span(f"row{number}"):
                yield get_current_span().name  # type: ignore[attr-defined]

    with traced.client.start_span("consumer") as consumer, use_client(traced.client):
        steps = rows()
        names = [in_a_thread(lambda: next(steps)) for _ in range(3)]
        assert get_current_span() is consumer
        assert in_a_thread(lambda: list(steps)) == []
    assert names == ["row0", "row1", "row2"]
    assert_are_below(traced, "rows", names, caplog)


def test_generator_that_is_dropped_ends_its_spans(
    traced: TracedApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed by the garbage collector, in whatever context that runs."""

    @trace_function(name="rows")
    def rows() -> Iterator[str]:
        with traced.client.start_span("row"):
            yield "x"

    def begin() -> Iterator[str]:
        steps = rows()
        next(steps)
        return steps

    with use_client(traced.client):
        steps = in_a_thread(begin)
        del steps
        gc.collect()
    assert_are_below(traced, "rows", ["row"], caplog)


def test_context_manager_made_of_a_generator_sets_its_users_variables(traced: TracedApp) -> None:
    """As it does undecorated: set within the block, and gone after it."""

    @contextmanager
    @trace_function
    def logged_in(name: str) -> Iterator[None]:
        token = user.set(name)
        yield
        user.reset(token)

    @asynccontextmanager
    @trace_function
    async def async_logged_in(name: str) -> AsyncIterator[None]:
        token = user.set(name)
        await asyncio.sleep(0)
        yield
        user.reset(token)

    async def use() -> None:
        async with async_logged_in("bert"):
            assert user.get("") == "bert"
        assert user.get("nobody") == "nobody"

    with use_client(traced.client):
        with logged_in("anna"):
            assert user.get("") == "anna"
            with logged_in("carl"):
                assert user.get("") == "carl"
            assert user.get("") == "anna"
        assert user.get("nobody") == "nobody"
        asyncio.run(use())
    assert len(traced.names) == 3


def test_body_sees_what_its_consumer_sets(traced: TracedApp) -> None:
    """Between two steps."""

    @trace_function
    def body() -> Iterator[str]:
        while True:
            yield user.get("nobody")

    def consume() -> list[str]:
        steps = body()
        seen = [next(steps)]
        for name in ("anna", "bert"):
            user.set(name)
            seen.append(next(steps))
        return seen

    with use_client(traced.client):
        assert contextvars.copy_context().run(consume) == ["nobody", "anna", "bert"]


def test_value_that_the_body_reset_is_not_left_with_another_consumer() -> None:
    """It was set for a context that is gone; the present one never had it."""
    steps = StepContext()
    tokens: list[contextvars.Token[str]] = []

    def take(step: Callable[[], None]) -> str:
        steps.enter()
        steps.context.run(step)
        steps.leave()
        return user.get("nobody")

    assert contextvars.copy_context().run(take, lambda: tokens.append(user.set("anna"))) == "anna"
    assert contextvars.copy_context().run(take, lambda: user.reset(tokens[0])) == "nobody"


def test_values_do_not_leak_to_whoever_takes_a_step(traced: TracedApp) -> None:
    """Nor to whoever collects the garbage: only what the body changes in a step goes to its consumer."""

    @trace_function
    def rows() -> Iterator[str]:
        while True:
            yield user.get("nobody")

    def begin() -> Iterator[str]:
        user.set("anna")
        steps = rows()
        next(steps)
        return steps

    def go_on(steps: Iterator[str]) -> tuple[str, str]:
        return next(steps), user.get("nobody")

    with use_client(traced.client):
        steps = contextvars.copy_context().run(begin)
        assert contextvars.copy_context().run(go_on, steps) == ("nobody", "nobody")
        del steps
        gc.collect()
    assert user.get("nobody") == "nobody"


def test_value_that_the_consumer_takes_back_is_gone_for_the_body(traced: TracedApp) -> None:
    """And does not come back to the consumer."""

    @trace_function
    def body() -> Iterator[str]:
        while True:
            yield user.get("nobody")

    def consume() -> list[str]:
        token = user.set("anna")
        steps = body()
        seen = [next(steps)]
        user.reset(token)
        return [*seen, next(steps), user.get("nobody")]

    with use_client(traced.client):
        assert contextvars.copy_context().run(consume) == ["anna", "nobody", "nobody"]


def test_recursion_may_be_deep(traced: TracedApp) -> None:
    """A tree of a hundred levels, walked by a decorated generator."""

    @trace_function
    def walk(depth: int) -> Iterator[int]:
        yield depth
        if depth:
            yield from walk(depth - 1)

    with use_client(traced.client):
        assert sum(walk(100)) == 5050
