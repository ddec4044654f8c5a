"""Arguments that nobody allows: at worst they raise what they raise in the SDK, and the span goes on."""

import enum
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, StatusCode
from support.span_readings import encode_ours, outcome, read_span
from support.span_worlds import (
    MakeProvider,
    World,
    log_lines,
    make_our_provider,
    make_pipelines_provider,
    make_sdk_provider,
)

CONTEXT = SpanContext(7, 8, is_remote=True)


def refuse(*_: Any) -> NoReturn:
    """Stands in for any method."""
    raise RuntimeError("refused")


Silent = type("Silent", (), {"__str__": refuse, "__repr__": refuse})
Unhashable = type("Unhashable", (str,), {"__hash__": None})
HashFails = type("HashFails", (str,), {"__hash__": refuse})
EqualFails = type("EqualFails", (str,), {"__hash__": str.__hash__, "__eq__": refuse})
LengthFails = type("LengthFails", (str,), {"__len__": refuse, "__bool__": refuse})
NumberFails = type(
    "NumberFails", (int,), dict.fromkeys(("__str__", "__eq__", "__hash__", "__bool__"), refuse)
)
ErrorFails = type("ErrorFails", (Exception,), {"__str__": refuse})


class Lying:
    """Says that it is a string."""

    __class__ = str  # type: ignore[assignment]


class Failing(Sequence[Any]):
    """A sequence that breaks off."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        if index:
            refuse()
        return 1


class FailingMapping(Mapping[str, Any]):
    """A mapping that breaks off."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        yield "a"
        refuse()

    def __getitem__(self, key: str) -> Any:
        return 1


def endless() -> list[Any]:
    """Returns a list that contains itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Size(enum.Enum):
    """An enumeration without a base type."""

    LARGE = 1


VALUES = [
    *(Silent(), [Silent()], {"a": Silent()}, Lying(), Failing(), FailingMapping(), endless(), Size.LARGE),
    *(
        LengthFails("text"),
        NumberFails(5),
        HashFails("text"),
        EqualFails("text"),
        UserDict({"a": 1}),
        (1, [2]),
    ),
    *({"a": 1}.items(), {"a": 1}.keys(), refuse, NotImplemented),
]
KEYS = [
    *([], {}, Silent(), Unhashable("key"), HashFails("key"), EqualFails("a"), LengthFails("key"), Lying()),
    *(Size.LARGE, 0.0, float("nan"), CONTEXT),
]
MAPPINGS = [
    *(None, [], {}, 5, "text", (), [("a", 1)], UserDict({"a": 1, "": 2}), FailingMapping()),
    *(
        {Silent(): 1},
        {EqualFails("a"): 1},
        {LengthFails("key"): 1},
        {"a": Silent(), "z": 1},
        {"a": 1}.items(),
    ),
    *({"a": endless()}, {5: 1, "5": 2}, {b"k": 1, None: 2}, {(): 1}, {"a": 1, Lying(): 2}),
]
TIMES = ["x", 1.5, True, b"1", float("nan"), [], Size.LARGE, 2**100, -(2**70)]

Act = Callable[[World], Any]
ACTS: dict[str, Act] = {}
for _number, _value in enumerate(VALUES):
    ACTS[f"value {_number}"] = lambda world, it=_value: world.spans[0].set_attribute("a", it)
    ACTS[f"value {_number} of many"] = lambda world, it=_value: world.spans[0].set_attributes(
        {"b": 1, "a": it}
    )
    ACTS[f"value {_number} of an event"] = lambda world, it=_value: world.spans[0].add_event("e", {"a": it})
    ACTS[f"value {_number} of a start"] = lambda world, it=_value: world.tracer.start_span(
        "s", None, attributes={"a": it}
    )
    ACTS[f"name {_number}"] = lambda world, it=_value: world.spans[0].update_name(it)
    ACTS[f"name {_number} of an event"] = lambda world, it=_value: world.spans[0].add_event(it)
    ACTS[f"name {_number} of a start"] = lambda world, it=_value: world.tracer.start_span(it)
    ACTS[f"description {_number}"] = lambda world, it=_value: world.spans[0].set_status(StatusCode.ERROR, it)
    ACTS[f"status {_number}"] = lambda world, it=_value: world.spans[0].set_status(it)
    ACTS[f"exception {_number}"] = lambda world, it=_value: world.spans[0].record_exception(it)
    ACTS[f"context {_number}"] = lambda world, it=_value: world.spans[0].add_link(it)
for _number, _key in enumerate(KEYS):
    ACTS[f"key {_number}"] = lambda world, it=_key: world.spans[0].set_attribute(it, 1)
    ACTS[f"key {_number} with a text"] = lambda world, it=_key: world.spans[0].set_attribute(it, "text")
for _number, _mapping in enumerate(MAPPINGS):
    ACTS[f"mapping {_number}"] = lambda world, it=_mapping: world.spans[0].set_attributes(it)
    ACTS[f"mapping {_number} of an event"] = lambda world, it=_mapping: world.spans[0].add_event("e", it)
    ACTS[f"mapping {_number} of a link"] = lambda world, it=_mapping: world.spans[0].add_link(CONTEXT, it)
    ACTS[f"mapping {_number} of a start"] = lambda world, it=_mapping: world.tracer.start_span(
        "s", attributes=it
    )
    ACTS[f"mapping {_number} of an exception"] = lambda world, it=_mapping: world.spans[0].record_exception(
        ValueError("no"), it
    )
    ACTS[f"links {_number}"] = lambda world, it=_mapping: world.tracer.start_span("s", links=it)
    ACTS[f"link of mapping {_number}"] = lambda world, it=_mapping: world.tracer.start_span(
        "s", links=[Link(CONTEXT, it)]
    )
for _number, _time in enumerate(TIMES):
    ACTS[f"time {_number} of an event"] = lambda world, it=_time: world.spans[0].add_event("e", None, it)
    ACTS[f"time {_number} of a start"] = lambda world, it=_time: world.tracer.start_span(
        "s", start_time=it
    ).end(5)
    ACTS[f"time {_number} of an end"] = lambda world, it=_time: world.spans[0].end(it)
    ACTS[f"kind {_number}"] = lambda world, it=_time: world.tracer.start_span("s", kind=it).end(5)
    ACTS[f"context {_number} of a start"] = lambda world, it=_time: world.tracer.start_span(
        "s", context=it
    ).end(5)
ACTS["failing exception"] = lambda world: world.spans[0].record_exception(ErrorFails())
ACTS["exception's class"] = lambda world: world.spans[0].record_exception(ValueError)
ACTS["span as a context"] = lambda world: world.spans[0].add_link(INVALID_SPAN)
ACTS["links of contexts"] = lambda world: world.tracer.start_span("s", links=[CONTEXT, "text"])
ACTS["kinds by number"] = lambda world: world.tracer.start_span("s", kind=SpanKind.CLIENT.value).end(5)


def act(make_provider: MakeProvider, name: str, limits: SpanLimits | None) -> dict[str, Any]:
    """Makes one call in a new world; returns what it gave and what is there afterwards."""
    with log_lines():
        world = World(make_provider, limits=limits)
        world.spans.append(world.tracer.start_span("first", attributes={"a": 0}, start_time=1))
        given = outcome(lambda: ACTS[name](world))
        if isinstance(given, Span):
            world.spans.append(given)
        after = outcome(lambda: world.spans[0].set_attribute("after", 1))
        for span in world.spans:
            span.end(2)
        ended = world.recorder.ended
        return {
            "given": given if isinstance(given, tuple) else given is None,
            "after": after,
            "seen": [{**read_span(span), "is_recording": False} for span in ended],
            "message": encode_ours(ended),
        }


@pytest.mark.parametrize("name", ACTS)
def test_wrong_argument_is_no_worse_than_in_the_sdk(name: str) -> None:
    """The library may be milder only: where it raises, so does the SDK, and all else is as there."""
    for limits in (None, SpanLimits(max_attributes=2, max_attribute_length=2)):
        assert_no_worse(name, limits)


def assert_no_worse(name: str, limits: SpanLimits | None) -> None:
    """Makes a call in all worlds and compares."""
    expected = act(make_sdk_provider, name, limits)
    for make_provider in (make_our_provider, make_pipelines_provider):
        found = act(make_provider, name, limits)
        if not isinstance(expected["given"], tuple):
            assert found == expected
        else:  # what the SDK has counted until then is not worth comparing
            assert found["given"] == expected["given"] or not isinstance(found["given"], tuple)
            assert found["after"] is None
            assert found["message"][1] == 0


@pytest.mark.parametrize("make", [make_our_provider, make_pipelines_provider])
@pytest.mark.parametrize("is_current", [True, False])
@pytest.mark.parametrize("does_record", [True, False])
def test_exception_without_a_text_leaves_a_block_as_it_is(
    does_record: bool, is_current: bool, make: MakeProvider
) -> None:
    """The application gets its own exception, and no other; the span has ended and tells the type."""
    world = World(make)
    start: Any = world.tracer.start_as_current_span if is_current else world.tracer.start_span
    error = ErrorFails()
    with pytest.raises(ErrorFails) as caught, start("work", record_exception=does_record):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    (ended,) = world.recorder.ended
    assert (ended.status.status_code, ended.status.description) == (StatusCode.ERROR, "ErrorFails")
    types = [(event.attributes or {})["exception.type"] for event in ended.events]
    assert types == [f"{ErrorFails.__module__}.ErrorFails"] * does_record
