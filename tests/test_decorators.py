"""The decorators in use: clients, methods, an application and type checkers."""

import asyncio
import inspect
import itertools
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from mypy import api as mypy
from opentelemetry.trace import StatusCode
from support.decorated import NUMBERS, ORDERS, Observed, each_kind, fail, make, stack
from support.functions import BoomError, run
from support.paths import ROOT
from support.using_client import use_client

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.decorators import measure_performance, trace_function, track_errors


@each_kind
def test_without_a_client_functions_are_left_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any client the decorators only call the function."""
    monkeypatch.setattr("telemetry.decorators.find_client", lambda: None)
    assert run(stack(ORDERS[0], make(kind, lambda: 42))) == 42
    with pytest.raises(BoomError):
        run(stack(ORDERS[0], make(kind, fail)))


def test_client_is_found_when_called(observed: Observed) -> None:
    """A function that was decorated before any client exists reports to the client current at each call."""
    function = stack(ORDERS[0], make("plain", lambda: 42))
    config = TelemetryConfig(service_name=f"decorators-{next(NUMBERS)}", traces_exporter="none")
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
    """If recording fails, the function still runs once and returns, and the failure is logged once."""
    broken = type("BrokenRegistryError", (Exception,), {})
    runs = itertools.count(1)

    def record(*_: object) -> None:
        raise broken

    monkeypatch.setattr(observed.client.metrics, "record_function", record)
    function = stack(ORDERS[0], make(kind, lambda: next(runs)))
    assert [run(function), run(function)] == [1, 2]
    assert [record.name for record in caplog.records] == ["telemetry.tracing.calls"]


class Basket:
    """Methods of every kind, with decorators above and below the built-in ones."""

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
    """Methods get their arguments unchanged, and names include the class."""
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
    """Exceptions pass through a context manager made from a decorated generator."""

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
    """FastAPI treats decorated endpoints and dependencies like undecorated ones."""
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
    assert observed.calls() == {
        ("read_item", "ok"): 1,
        # The second request is refused before the endpoint, which the dependencies see.
        **{(name, outcome): 1 for name in ("connection", "session") for outcome in ("ok", "error")},
    }


@pytest.mark.parametrize("order", [0, 1])
def test_traced_call_is_measured_once(order: int, observed: Observed) -> None:
    """By `trace_function` alone, and with `measure_performance` on either side of it."""
    decorators = [trace_function, measure_performance]

    def both() -> int:
        return 1

    for decorate in decorators if order else reversed(decorators):
        both = decorate(both)

    @trace_function
    def alone() -> int:
        return 1

    assert (both(), alone()) == (1, 1)
    assert observed.calls() == {("both", "ok"): 1, ("alone", "ok"): 1}
    assert observed.spans.keys() == {"both", "alone"}


def test_object_is_of_its_methods_kind(observed: Observed) -> None:
    """A decorated object whose `__call__` is asynchronous is a coroutine function."""

    class Handler:
        """Handles."""

        async def __call__(self, number: int) -> int:
            """Takes a moment."""
            await asyncio.sleep(0)
            return number + 1

    class Numbers:
        """Counts."""

        def __call__(self) -> Iterator[int]:
            """Counts to two."""
            yield from (1, 2)

    handle = trace_function(name="handle")(Handler())
    count = trace_function(name="count")(Numbers())
    assert inspect.iscoroutinefunction(handle)
    assert inspect.isgeneratorfunction(count)
    assert asyncio.run(handle(1)) == 2
    assert list(count()) == [1, 2]
    assert observed.spans.keys() == {"handle", "count"}


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
    """A strict type checker sees the original signatures and reports misuse."""
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
