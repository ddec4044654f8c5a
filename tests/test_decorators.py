"""The decorators on a real client: its tracer, its metrics, spans kept in memory instead of being sent."""

import asyncio
import contextvars
import gc
import inspect
import itertools
import logging
import textwrap
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from mypy import api as mypy
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.current import use_client
from telemetry.decorators import measure_performance, trace_function, track_errors
from telemetry.metrics import names

ROOT = Path(__file__).parent.parent
SLOW_CALL_MS = 300
_numbers = itertools.count()


class BoomError(Exception):
    """What a body raises in these tests."""


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def pass_ms(self, milliseconds: float) -> None:
        """Lets time pass."""
        self.now += milliseconds / 1000


@dataclass(frozen=True)
class Observed:
    """What a client has seen."""

    client: TelemetryClient
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The ended spans by the last part of their names."""
        return {span.name.rpartition(".")[2]: span for span in self.exporter.get_finished_spans()}

    def exception_events(self) -> list[tuple[str, Any]]:
        """Span and type of every recorded exception."""
        return [
            (name, (event.attributes or {})["exception.type"])
            for name, span in self.spans.items()
            for event in span.events
            if event.name == "exception"
        ]

    def count(self, metric: str) -> dict[tuple[str, str], float]:
        """A counter's or histogram's counts, by function and error type or outcome."""
        return {
            (
                sample.labels[names.FUNCTION].rpartition(".")[2],
                sample.labels.get(names.ERROR_TYPE) or sample.labels[names.OUTCOME],
            ): sample.value
            for family in self.client.registry.collect()
            if family.name == metric
            for sample in family.samples
            if sample.name in {f"{metric}_total", f"{metric}_count"}
        }

    def errors(self) -> dict[tuple[str, str], float]:
        """The error counter."""
        return self.count(names.FUNCTION_ERROR_COUNT)

    def calls(self) -> dict[tuple[str, str], float]:
        """How many durations are recorded."""
        return self.count(names.FUNCTION_DURATION_MS)


@pytest.fixture
def observed() -> Iterator[Observed]:
    """A client of its own, which the decorators find, and what it sees."""
    config = TelemetryConfig(
        service_name=f"decorators-{next(_numbers)}", traces_exporter="none", slow_call_ms=SLOW_CALL_MS
    )
    with TelemetryClient(config) as client, use_client(client):
        exporter = InMemorySpanExporter()
        assert isinstance(client.tracer_provider, SdkTracerProvider)
        client.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        yield Observed(client, exporter)


def make(kind: str, body: Callable[[], Any]) -> Callable[..., Any]:
    """A function of the kind that runs `body` between its first step and its last."""

    def plain() -> Any:
        return body()

    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return body()

    def generator() -> Generator[Any, None, Any]:
        yield "first"
        return body()

    async def async_generator() -> AsyncIterator[Any]:
        yield "first"
        await asyncio.sleep(0)
        yield body()

    functions: tuple[Callable[..., Any], ...] = (plain, coroutine, generator, async_generator)
    return next(function for function in functions if function.__name__ == kind)


def run(function: Callable[..., Any]) -> Any:
    """Runs a function of any kind to its end; a generator's result is its last word."""
    result = function()
    if inspect.isgenerator(result):
        while True:
            try:
                next(result)
            except StopIteration as stop:
                return stop.value
    if inspect.isasyncgen(result):

        async def last() -> Any:
            async with aclosing(result):
                return [item async for item in result][-1]

        return asyncio.run(last())
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def fail() -> None:
    """Raises."""
    raise BoomError("boom")


KINDS = ["plain", "coroutine", "generator", "async_generator"]
each_kind = pytest.mark.parametrize("kind", KINDS)
ORDERS = list(itertools.permutations([trace_function, track_errors, measure_performance]))
each_order = pytest.mark.parametrize(
    "order", ORDERS, ids=[" ".join(decorator.__name__ for decorator in order) for order in ORDERS]
)


def stack(order: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates with each of the decorators in turn."""
    for decorator in order:
        function = decorator(function)
    return function


# trace_function


@each_kind
def test_each_call_has_a_span(observed: Observed, kind: str) -> None:
    """A call's span is named for the function and says which it is."""
    function = make(kind, lambda: 42)
    assert run(trace_function(function)) == 42
    (span,) = observed.exporter.get_finished_spans()
    assert span.name == f"{__name__}.make.<locals>.{kind}"
    assert span.attributes == {"code.function.name": span.name}
    assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)


def test_span_can_be_named_and_described(observed: Observed) -> None:
    """Name, kind and attributes are the user's to choose."""

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
    """Spans that the body starts are the call's children, in every step."""
    with observed.client.start_span("caller"):
        run(trace_function(make(kind, lambda: observed.client.tracer.start_span("child").end())))
    spans = observed.spans
    assert spans["child"].parent == spans[kind].context
    assert spans[kind].parent == spans["caller"].context


def test_span_does_not_leak_into_the_consumer(observed: Observed) -> None:
    """Between two steps the consumer's own span is current, and the body's again in the next."""
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
    """The same holds for an asynchronous generator, also when another task takes the next step."""
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
    """The exception leaves as it came; the span says what it was."""
    with pytest.raises(BoomError, match="boom"):
        run(trace_function(make(kind, fail)))
    span = observed.spans[kind]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == f"{__name__}.BoomError: boom"
    assert observed.exception_events() == [(kind, f"{__name__}.BoomError")]


def test_exception_that_cannot_be_printed_still_ends_the_span(observed: Observed) -> None:
    """A broken __str__ costs the event, not the span, its status or the exception."""

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
    """A call that is told to stop ends its span without blame, and is counted as cancelled."""

    def stop() -> None:
        raise error

    with pytest.raises(error):
        stack(ORDERS[0], stop)()
    span = observed.spans["stop"]
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert observed.errors() == {}
    assert observed.calls() == {("stop", "cancelled"): 1}


def test_cancelled_task_is_no_error(observed: Observed) -> None:
    """A task that is cancelled while it waits ends likewise."""

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
    """A generator that its consumer closes, or forgets, ends its span without blame."""
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
    """Another task may close it: the span ends, and nothing complains of a foreign context."""

    async def main() -> None:
        body = stack(ORDERS[0], make("async_generator", fail))()
        await anext(body)
        await asyncio.create_task(body.aclose())

    asyncio.run(main())
    assert observed.spans["async_generator"].status.status_code is StatusCode.UNSET
    assert observed.calls() == {("async_generator", "cancelled"): 1}
    assert caplog.records == []


def test_closing_a_coroutine_elsewhere(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine that is closed in another context ends its span, and leaves that context alone."""

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
    """What a generator's body attaches to the context is there in its next step, and only there."""

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


# track_errors


@each_kind
def test_error_is_counted_and_recorded(observed: Observed, kind: str) -> None:
    """An exception that leaves is counted, and recorded on the span that is current outside."""
    with observed.client.start_span("caller"), suppress(BoomError):
        run(track_errors(make(kind, fail)))
    assert observed.errors() == {(kind, "BoomError"): 1}
    assert observed.exception_events() == [("caller", f"{__name__}.BoomError")]
    assert observed.spans["caller"].status.status_code is StatusCode.UNSET


def test_success_is_no_error(observed: Observed) -> None:
    """A call that succeeds leaves nothing."""
    assert track_errors(lambda: 42)() == 42
    assert observed.errors() == {}


def test_ignored_error_is_neither_counted_nor_recorded(observed: Observed) -> None:
    """What is ignored passes; it is left to the functions further out."""

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
    """A mistake in `ignore` shows where it is made, not when something fails."""
    with pytest.raises(TypeError):
        track_errors(ignore=["KeyError"])  # type: ignore[call-overload]


@each_kind
@each_order
def test_stacked_in_any_order(observed: Observed, kind: str, order: Any) -> None:
    """On one function the order of decorators makes no difference, and the error is there once."""
    with observed.client.start_span("caller"), suppress(BoomError):
        run(stack(order, make(kind, fail)))
    assert observed.errors() == {(kind, "BoomError"): 1}
    assert observed.calls() == {(kind, "error"): 1}
    assert observed.exception_events() == [(kind, f"{__name__}.BoomError")]
    assert observed.spans[kind].status.status_code is StatusCode.ERROR


@each_kind
@each_order
def test_nested_functions_record_an_error_once(observed: Observed, kind: str, order: Any) -> None:
    """The innermost function has the error; every span that it leaves has the status."""

    def innermost() -> None:
        fail()

    def middle() -> None:
        run(stack(order[::-1], make(kind, stack(order, innermost))))

    with suppress(BoomError):
        stack(order, middle)()
    assert observed.errors() == {("innermost", "BoomError"): 1}
    assert observed.exception_events() == [("innermost", f"{__name__}.BoomError")]
    assert {name: span.status.status_code for name, span in observed.spans.items()} == dict.fromkeys(
        ["innermost", kind, "middle"], StatusCode.ERROR
    )
    assert observed.calls() == dict.fromkeys(
        [("innermost", "error"), (kind, "error"), ("middle", "error")], 1
    )


def test_error_outside_the_spans_is_recorded_by_the_first_span(observed: Observed) -> None:
    """Where no span is current inside, the event is left to the first function outside that has one."""

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
    assert observed.exception_events() == [("outer", f"{__name__}.BoomError")]


def test_same_exception_raised_again_counts_again(observed: Observed) -> None:
    """An exception kept and raised in a later call is an error of that call."""
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
    """Tasks carry their exception to the function that waits for them; each counts where it arose."""

    async def failing() -> None:
        await asyncio.sleep(0)
        fail()

    async def together() -> None:
        await asyncio.gather(*(stack(ORDERS[0], failing)() for _ in range(2)))

    with suppress(BoomError):
        asyncio.run(stack(ORDERS[0], together)())
    assert observed.errors() == {("failing", "BoomError"): 2}
    assert observed.spans["together"].status.status_code is StatusCode.ERROR


# measure_performance


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "ok"), (BoomError, "error"), (asyncio.CancelledError, "cancelled")]
)
@each_kind
def test_duration_is_recorded(
    observed: Observed, kind: str, error: type[BaseException] | None, outcome: str
) -> None:
    """However a call ends, its duration is recorded in milliseconds under its outcome."""
    clock = FakeClock()

    def work() -> None:
        clock.pass_ms(250)
        if error is not None:
            raise error

    with suppress(BoomError, asyncio.CancelledError):
        run(measure_performance(clock=clock)(make(kind, work)))
    assert observed.calls() == {(kind, outcome): 1}
    assert observed.client.registry.get_sample_value(
        f"{names.FUNCTION_DURATION_MS}_sum",
        {names.FUNCTION: f"{__name__}.make.<locals>.{kind}", names.OUTCOME: outcome},
    ) == pytest.approx(250)


def test_consumers_time_is_not_the_generators(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """A generator is not slow because its consumer is."""
    clock = FakeClock()

    @measure_performance(clock=clock)
    def items() -> Iterator[int]:
        for number in range(3):
            clock.pass_ms(100)
            yield number

    for _ in items():
        clock.pass_ms(10_000)
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["coroutine", "async_generator"])
def test_waiting_is_the_functions_time(
    observed: Observed, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A function that awaits something slow is slow."""
    clock = FakeClock()
    function = measure_performance(clock=clock)(make(kind, lambda: 42))

    async def consume() -> None:
        if kind == "coroutine":
            await function()
        else:
            assert [item async for item in function()] == ["first", 42]

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(consume())
            await asyncio.sleep(0)  # the function waits now
            clock.pass_ms(400)

    asyncio.run(main())
    assert len(caplog.records) == 1


def slow(clock: FakeClock, milliseconds: float) -> Callable[[], None]:
    """A function that takes so long."""

    def work() -> None:
        clock.pass_ms(milliseconds)

    return work


@each_order
def test_slow_call_is_logged(observed: Observed, caplog: pytest.LogCaptureFixture, order: Any) -> None:
    """A slow call's warning names function, duration and trace, in whatever order it is decorated."""
    clock = FakeClock()
    replaced = [
        measure_performance(clock=clock) if decorator is measure_performance else decorator
        for decorator in order
    ]
    stack(replaced, slow(clock, 1234.5))()
    (record,) = caplog.records
    span = observed.spans["work"].context
    assert span is not None
    assert (record.name, record.levelno) == ("telemetry.decorators", logging.WARNING)
    assert record.getMessage() == (
        f"{__name__}.slow.<locals>.work took 1234.5 ms, more than {SLOW_CALL_MS} ms "
        f"(trace {trace.format_trace_id(span.trace_id)})"
    )


def test_slow_call_outside_a_trace_is_logged(observed: Observed, caplog: pytest.LogCaptureFixture) -> None:
    """Without a trace the warning says so."""
    clock = FakeClock()
    measure_performance(clock=clock)(slow(clock, 400))()
    assert [record.getMessage().rpartition("(")[2] for record in caplog.records] == ["trace none)"]


@pytest.mark.parametrize(
    ("slow_ms", "duration_ms", "is_slow"),
    [
        (None, SLOW_CALL_MS - 1, False),
        (None, SLOW_CALL_MS + 1, True),
        (10, 9, False),
        (10, 11, True),
        (0, 1, True),
    ],
)
def test_threshold(
    observed: Observed,
    caplog: pytest.LogCaptureFixture,
    slow_ms: float | None,
    duration_ms: float,
    is_slow: bool,
) -> None:
    """The decorator's threshold wins over the configuration's."""
    clock = FakeClock()
    measure_performance(slow_ms=slow_ms, clock=clock)(slow(clock, duration_ms))()
    assert len(caplog.records) == is_slow


# finding the client


@each_kind
def test_without_a_client_functions_are_left_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is set up the decorators only call through."""
    monkeypatch.setattr("telemetry.decorators.find_client", lambda: None)
    assert run(stack(ORDERS[0], make(kind, lambda: 42))) == 42
    with pytest.raises(BoomError):
        run(stack(ORDERS[0], make(kind, fail)))


def test_client_is_found_when_called(observed: Observed) -> None:
    """A function decorated before any client exists reports to the client of each call."""
    function = stack(ORDERS[0], make("plain", lambda: 42))
    config = TelemetryConfig(service_name=f"decorators-{next(_numbers)}", traces_exporter="none")
    with TelemetryClient(config) as other:
        with use_client(other):
            function()
        function()
    assert observed.calls() == {("plain", "ok"): 1}
    assert Observed(other, observed.exporter).calls() == {("plain", "ok"): 1}


@each_kind
def test_broken_metrics_are_harmless(
    observed: Observed, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When recording fails the function still runs once and gives its result, and the log says it once."""
    broken = type("BrokenRegistryError", (Exception,), {})
    runs = itertools.count(1)

    def record(*_: object) -> None:
        raise broken

    monkeypatch.setattr(observed.client.metrics, "record_function", record)
    function = stack(ORDERS[0], make(kind, lambda: next(runs)))
    assert [run(function), run(function)] == [1, 2]
    assert [record.name for record in caplog.records] == ["telemetry.tracing.calls"]


# in use


class Basket:
    """Methods of every kind, decorated above and below."""

    @trace_function
    @measure_performance
    def method(self, item: str) -> tuple[type, str]:
        """A method."""
        return type(self), item

    @trace_function()
    @classmethod
    @measure_performance
    def class_method(cls, item: str) -> tuple[type, str]:
        """A class method."""
        return cls, item

    @staticmethod
    @trace_function
    @measure_performance()
    def static_method(item: str) -> tuple[type, str]:
        """A static method."""
        return Basket, item

    @property
    @trace_function
    @measure_performance
    def a_property(self) -> int:
        """A property."""
        return 42


def test_methods(observed: Observed) -> None:
    """Methods get what they are called with, and are named with their class."""
    basket = Basket()
    assert basket.method("tea") == basket.class_method("tea") == (Basket, "tea")
    assert Basket.class_method("tea") == Basket.static_method("tea") == (Basket, "tea")
    assert basket.a_property == 42
    assert {span.name.removeprefix(f"{__name__}.") for span in observed.exporter.get_finished_spans()} == {
        "Basket.method",
        "Basket.class_method",
        "Basket.static_method",
        "Basket.a_property",
    }
    assert sum(observed.calls().values()) == 5


def test_works_as_a_context_manager(observed: Observed) -> None:
    """A decorated generator makes a context manager whose exceptions come through."""

    @contextmanager
    @trace_function
    @track_errors
    def transaction() -> Iterator[str]:
        yield "open"

    with suppress(BoomError), transaction() as state:
        assert state == "open"
        fail()
    assert observed.errors() == {("transaction", "BoomError"): 1}
    assert observed.spans["transaction"].status.status_code is StatusCode.ERROR


def test_works_in_an_application(observed: Observed) -> None:
    """FastAPI sees decorated endpoints and dependencies as what they are."""
    app = FastAPI()

    @trace_function
    def connection() -> Iterator[str]:
        yield "connected"

    @trace_function
    async def session(connection: Annotated[str, Depends(connection)]) -> AsyncIterator[str]:
        yield f"{connection}, in session"

    @app.get("/items/{item_id}")
    @trace_function
    @measure_performance
    @track_errors
    async def read_item(item_id: int, session: Annotated[str, Depends(session)]) -> dict[str, object]:
        return {"item_id": item_id, "session": session}

    async def request(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as http:
            return await http.get(path)

    assert asyncio.run(request("/items/7")).json() == {
        "item_id": 7,
        "session": "connected, in session",
    }
    assert asyncio.run(request("/items/seven")).status_code == 422
    assert observed.spans.keys() >= {"connection", "session", "read_item"}
    assert observed.calls() == {("read_item", "ok"): 1}


TYPED = """
    from collections.abc import AsyncIterator, Generator
    from typing import TypeVar, assert_type

    from telemetry.decorators import measure_performance, trace_function, track_errors

    T = TypeVar("T")

    @trace_function
    @track_errors(ignore=KeyError)
    @measure_performance(slow_ms=5)
    def plain(number: int, *, text: str = "") -> str: return text

    @trace_function("named")
    async def coroutine(number: int) -> str: return ""

    @track_errors
    def generator(number: int) -> Generator[int, str, bytes]:
        yield 1
        return b""

    @measure_performance
    async def async_generator(number: int) -> AsyncIterator[int]:
        yield 1

    @trace_function
    def first(items: list[T]) -> T: return items[0]

    class Owner:
        @trace_function
        def method(self, number: int) -> str: return ""

        @track_errors
        @classmethod
        def above(cls, number: int) -> str: return ""

        @staticmethod
        @measure_performance
        def below(number: int) -> str: return ""

        @property
        @trace_function
        def value(self) -> int: return 1

    async def check() -> None:
        assert_type(plain(1, text=""), str)
        assert_type(await coroutine(1), str)
        assert_type(generator(1), Generator[int, str, bytes])
        assert_type([number async for number in async_generator(1)], list[int])
        assert_type(first([1]), int)
        assert_type(Owner().method(1), str)
        assert_type(Owner.above(1), str)
        assert_type(Owner.below(1), str)
        assert_type(Owner().value, int)

        plain("1")  # error
        plain(1, "")  # error
        await coroutine()  # error
        Owner().method("1")  # error
        Owner.above("1")  # error
        Owner.below("1")  # error

    trace_function(3)  # error
    track_errors(ignore=3)  # error
    measure_performance(slow_ms="5")  # error
"""


def test_types_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a strict type checker a decorated function is what it was, and misuse is found."""
    monkeypatch.chdir(ROOT)
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(TYPED))
    expected = {
        number for number, line in enumerate(program.read_text().splitlines(), 1) if line.endswith("# error")
    }
    output, complaints, _ = mypy.run(
        [
            "--strict",
            "--follow-imports=silent",
            "--no-error-summary",
            "--no-pretty",
            "--config-file=",
            str(program),
        ]
    )
    assert complaints == ""
    errors = [line for line in output.splitlines() if ": error: " in line]
    assert {int(line.removeprefix(str(program)).split(":")[1]) for line in errors} == expected, output
