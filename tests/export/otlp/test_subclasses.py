"""Values of subclasses are encoded as their base type's values, whatever the subclass overrides."""

import enum
import http
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext
from support.waiting import Until

from telemetry.client import TelemetryClient
from telemetry.export.otlp.spans import Encoder


def refuse(*_: Any) -> NoReturn:
    """Stands in for any method that a subclass overrides."""
    raise RuntimeError("overridden")


OVERRIDDEN = dict.fromkeys(
    (
        *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__str__", "__repr__"),
        *("__bool__", "__int__", "__index__", "__float__", "__bytes__", "__len__", "__iter__", "__getitem__"),
        *("__contains__", "__add__", "__and__", "__rshift__", "__format__", "encode", "bit_length"),
    ),
    refuse,
)
HostileInt = type("HostileInt", (int,), OVERRIDDEN)
HostileFloat = type("HostileFloat", (float,), OVERRIDDEN)
HostileStr = type("HostileStr", (str,), OVERRIDDEN)
HostileBytes = type("HostileBytes", (bytes,), OVERRIDDEN)


class Unlike(str):
    """A string that equals everything and has another string's hash."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("victim")


class Colour(str, enum.Enum):  # noqa: UP042 - prints as "Colour.RED", unlike a StrEnum
    """A string enum as many applications still write it."""

    RED = "red"


class Size(enum.StrEnum):
    """A `StrEnum` from the standard library."""

    LARGE = "large"


class Rights(enum.IntFlag):
    """A set of flags."""

    READ = 4
    WRITE = 2


def encode(**fields: Any) -> tuple[Encoder, Any]:
    """Encodes one span with these fields; returns the encoder and the parsed span."""
    encoder = Encoder()
    context = SpanContext(1, 2, is_remote=False)
    span = ReadableSpan(**{"name": "work", "context": context, "start_time": 1, "end_time": 2, **fields})
    request = ExportTraceServiceRequest.FromString(encoder.encode([span]).payload)
    spans = [each for r in request.resource_spans for s in r.scope_spans for each in s.spans]
    return encoder, spans[0] if spans else None


def written(value: Any) -> Any:
    """Returns the Python value of an `AnyValue`."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [written(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: written(each.value) for each in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


# Made within the tests, since pytest's collection would call `str()` on hostile values.
VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "IntEnum": (lambda: http.HTTPStatus.OK, 200),
    "IntFlag": (lambda: Rights.READ | Rights.WRITE, 6),
    "hostile int": (lambda: HostileInt(-5), -5),
    "largest hostile int": (lambda: HostileInt(2**63 - 1), 2**63 - 1),
    "hostile float": (lambda: HostileFloat(1.5), 1.5),
    "numpy float": (lambda: np.float64(2.5), 2.5),
    "StrEnum": (lambda: Size.LARGE, "large"),
    "str and Enum": (lambda: Colour.RED, "red"),
    "hostile str": (lambda: HostileStr("text"), "text"),
    "numpy str": (lambda: np.str_("array"), "array"),
    "hostile bytes": (lambda: HostileBytes(b"\x00\xff"), b"\x00\xff"),
    "numpy bytes": (lambda: np.bytes_(b"raw"), b"raw"),
    "list": (lambda: [http.HTTPStatus.OK, Size.LARGE, True], [200, "large", True]),
    "mapping": (lambda: {Colour.RED: http.HTTPStatus.NOT_FOUND}, {"red": 404}),
}


@pytest.mark.parametrize("name", VALUES)
def test_value_of_a_subclass_is_its_base_types(name: str) -> None:
    """No overridden method is called, and nothing is lost."""
    make, expected = VALUES[name]
    encoder, span = encode(attributes={"key": make()}, events=[Event("e", {"key": make()}, 1)])
    for attributes in (span.attributes, span.events[0].attributes):
        found = written(attributes[0].value)
        assert (found, type(found)) == (expected, type(expected))
    assert (encoder.lost_attributes, encoder.unencodable) == (0, 0)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_integer_of_a_subclass_beyond_64_bits_costs_itself(value: int) -> None:
    """It is dropped at once like one of the base type, however large it is."""
    encoder, span = encode(attributes={"bad": HostileInt(value), "good": 1})
    assert [each.key for each in span.attributes] == ["good"]
    assert (encoder.lost_attributes, span.dropped_attributes_count) == (1, 1)


class Faceless:
    """An object whose `__class__` raises."""

    @property
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("ask me not")


class Unhashable(type):
    """A metaclass whose classes cannot be looked up in a dictionary."""

    def __eq__(cls, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class OfUnhashable(metaclass=Unhashable):
    """A value of such a class."""


class Sulky(Sequence[int]):
    """A sequence that cannot be read."""

    def __getitem__(self, _: Any) -> NoReturn:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class SulkyMapping(Mapping[str, int]):
    """A mapping that cannot be read."""

    def __getitem__(self, _: Any) -> NoReturn:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        return iter(("a",))

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "make", [Faceless, OfUnhashable, Sulky, SulkyMapping, lambda: np.int64(5), lambda: Decimal(5)]
)
def test_value_that_raises_or_has_no_type_costs_itself(make: Callable[[], Any]) -> None:
    """Its neighbours are encoded. The SDK's own containers would convert the last two to text."""
    encoder, span = encode(attributes={"bad": make(), "good": 1})
    assert [(each.key, written(each.value)) for each in span.attributes] == [("good", 1)]
    assert (encoder.lost_attributes, encoder.unencodable) == (1, 0)


@pytest.mark.parametrize("name", ["StrEnum", "str and Enum", "hostile str", "numpy str"])
def test_text_of_a_subclass_is_written_wherever_a_span_holds_text(name: str) -> None:
    """This includes the span's name and an event's name."""
    make, expected = VALUES[name]
    _, span = encode(name=make(), events=[Event(make(), {}, 1)])
    assert (span.name, span.events[0].name) == (expected, expected)


@pytest.mark.parametrize("name", [404, None, b"bytes", object()])
def test_name_that_is_no_text_does_not_cost_the_span(name: Any) -> None:
    """The trace shows the type of the wrong name."""
    _, span = encode(name=name, events=[Event(name, {"key": 1}, 1)])
    assert (span.name, span.events[0].name) == (f"<{type(name).__name__}>",) * 2
    assert span.events[0].attributes[0].value.int_value == 1


def test_key_of_a_subclass_leaves_nothing_in_the_caches_for_others() -> None:
    """A key that equals everything must not be found for keys with the same hash."""
    encoder = Encoder()
    context = SpanContext(1, 2, is_remote=False)

    def span(attributes: dict[str, Any]) -> ReadableSpan:
        return ReadableSpan("work", context, attributes=attributes, start_time=1, end_time=2)

    spans = [span({Unlike("liar"): 1}), span({"victim": 1}), span({Unlike("liar"): 1})]
    request = ExportTraceServiceRequest.FromString(encoder.encode(spans).payload)
    keys = [each.attributes[0].key for each in request.resource_spans[0].scope_spans[0].spans]
    assert keys == ["liar", "victim", "liar"]
    caches = [value for value in vars(encoder).values() if isinstance(value, dict)]
    for cache in caches:
        for key in cache:
            assert all(type(part) in {str, int} for part in (key if isinstance(key, tuple) else (key,)))


def test_process_goes_on_whatever_its_spans_hold(receiver: Any, until: Until) -> None:
    """Through the public API; an `HTTPStatus` once froze every thread."""
    client = TelemetryClient(
        service_name="shop", endpoint=receiver.endpoint, sampler="always_on", schedule_delay_ms=20
    )
    values: dict[str, Any] = {
        "status": http.HTTPStatus.OK,
        "integer": HostileInt(2**62),
        "size": Size.LARGE,
        "array": np.int64(7),
        "flag": np.bool_(True),
        "price": Decimal("1.50"),
        "list": [http.HTTPStatus.NOT_FOUND, np.float64(0.5)],
    }
    done = threading.Event()

    def trace() -> None:
        with client.start_span("order", attributes=values):
            pass
        done.set()

    threading.Thread(target=trace, daemon=True).start()
    until("the span has ended", done.is_set)
    assert client.force_flush(10)
    (span,) = receiver.spans
    found = {each.key: written(each.value) for each in span.attributes}
    assert found == {
        "status": 200,
        "integer": 2**62,
        "size": "large",
        # Not subclasses of OTLP's types, so the SDK converts them to text.
        "array": "7",
        "flag": "True",
        "price": "1.50",
        "list": [404, 0.5],
    }
    assert client.shutdown(5)
