"""Limits, by arguments and by variables, are the SDK's: what is kept, cut and counted as dropped."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Link, SpanContext
from support.span_readings import encode_official, encode_ours, read_span
from support.span_worlds import PROVIDERS, MakeProvider, World, log_lines

LONG = "v" * 100
CONTEXT = SpanContext(1, 2, is_remote=True)
MANY = {f"key {number}": LONG for number in range(140)}
_FEW = 130
"""Only the events and links after these have many attributes."""
NESTED = {"list": [LONG, [LONG]], "bytes": LONG.encode(), "mapping": {LONG: LONG}}


def overfill(make_provider: MakeProvider, limits: SpanLimits | None = None) -> tuple[World, list[object]]:
    """Records more of everything than any limit allows; returns the world and what it shows."""
    with log_lines() as lines:
        world = World(make_provider, limits=limits)
        links = [
            Link(SpanContext(1, number, is_remote=False), MANY if number > _FEW else {"text": LONG})
            for number in range(1, 135)
        ]
        with world.tracer.start_as_current_span(
            "full", links=links, attributes={**MANY, **NESTED}, start_time=1
        ) as span:
            for number in range(140):
                span.set_attribute(f"number {number}", number)
                span.add_event(f"event {number}", {**MANY, **NESTED} if number > _FEW else {"text": LONG}, 2)
            span.set_attributes({**NESTED, "": 1, "number 3": "again"})
            span.set_attribute("number 139", LONG)
            span.set_attribute("text", "")
            span.add_link(CONTEXT, MANY)
            span.record_exception(ValueError(LONG), timestamp=3)
            span.end(4)
    ended = world.recorder.ended
    shown = [read_span(span), *map(read_span, ended), encode_ours(ended), encode_official(ended)]
    return world, [*shown, lines]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "13", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "11"},
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "13", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "15"},
        {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "5", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "6"},
        {"OTEL_SPAN_EVENT_COUNT_LIMIT": "7", "OTEL_SPAN_LINK_COUNT_LIMIT": "4"},
        {"OTEL_SPAN_EVENT_COUNT_LIMIT": "0", "OTEL_SPAN_LINK_COUNT_LIMIT": "0"},
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0"},
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "9"},
        dict.fromkeys(
            (
                *("OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
                *("OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"),
                *("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
            ),
            "",
        ),
    ],
    ids=str,
)
def test_variables_limit_alike(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable means no limit."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (_, expected), (_, found) = (overfill(make) for make in PROVIDERS.values())
    assert found == expected


@pytest.mark.parametrize(
    "limits",
    [
        SpanLimits(max_attributes=11, max_events=15, max_links=13, max_attribute_length=9),
        SpanLimits(max_attribute_length=9, max_span_attribute_length=25),
        SpanLimits(max_attributes=0, max_events=0, max_links=0, max_span_attributes=15),
        SpanLimits(max_attributes=0, max_span_attributes=SpanLimits.UNSET),
        SpanLimits(max_event_attributes=1, max_link_attributes=2, max_span_attributes=3),
        SpanLimits(*[SpanLimits.UNSET] * 8),
    ],
    ids=repr,
)
def test_arguments_limit_alike(limits: SpanLimits) -> None:
    """Limits of spans, events and links are independent of each other."""
    (_, expected), (_, found) = (overfill(make, limits) for make in PROVIDERS.values())
    assert found == expected


def test_defaults_keep_the_latest_128(make_provider: MakeProvider) -> None:
    """The oldest attributes, events and links are dropped, and counted."""
    world, _ = overfill(make_provider)
    (span,) = world.recorder.ended
    assert (len(span.attributes or {}), len(span.events), len(span.links)) == (128, 128, 128)
    assert list(span.attributes or {})[-1] == "text"
    # Those of the start, the numbers, the nested ones again, one twice and one with an empty key, and a text.
    assert span.dropped_attributes == 140 + 3 + 140 + 3 + 1 + 1 + 1 - 128
    assert (span.dropped_events, span.dropped_links) == (141 - 128, 135 - 128)
    assert span.events[-2].dropped_attributes == 143 - 128
    assert span.links[-1].dropped_attributes == 140 - 128


def test_overwritten_attribute_is_not_dropped(make_provider: MakeProvider) -> None:
    """It becomes the newest, so that it outlives the others."""
    world = World(make_provider, limits=SpanLimits(max_span_attributes=2))
    span = world.tracer.start_span("work", attributes={"a": 1, "b": 2})
    span.set_attribute("a", 3)
    span.set_attribute("c", 4)
    span.end()
    (ended,) = world.recorder.ended
    assert list((ended.attributes or {}).items()) == [("a", 3), ("c", 4)]
    assert ended.dropped_attributes == 1


@pytest.mark.parametrize("value", ["bad", "-1"])
@pytest.mark.parametrize(
    "name",
    [
        *("OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        *("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    ],
)
def test_malformed_variable_stops_the_start(
    name: str, value: str, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable and its value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} must be a non-negative integer but got {value}"):
        World(make_provider)
