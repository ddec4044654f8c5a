"""The library's spans are the SDK's to everyone who looks: the same calls give the same results in both."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, StatusCode
from support.span_calls import THEMES, Call, Enter, SetStatus, Start, StartAsCurrent, Use
from support.span_readings import encode_official, encode_ours, outcome, read_context, read_span
from support.span_values import EVERY_FAILURE, LIMITS, SAMPLING
from support.span_worlds import (
    CountingIds,
    MakeProvider,
    ScriptedSampler,
    World,
    log_lines,
    make_our_provider,
    make_pipelines_provider,
    make_sdk_provider,
)

Sampling = Sequence[tuple[Decision, dict[Any, Any] | None, Any]]
ALL = [(Decision.RECORD_AND_SAMPLE, None, None)]


def tell(
    make_provider: MakeProvider,
    calls: Sequence[Call],
    sampling: Sampling,
    limits: SpanLimits | None,
    random_ids: bool,
) -> list[tuple[str, Any]]:
    """Makes the calls in a new world; returns all that was seen after each of them, and at the end."""
    sampler = ScriptedSampler(sampling)
    told: list[tuple[str, Any]] = []
    with log_lines() as lines:
        world = World(make_provider, sampler=sampler, limits=limits, ids=CountingIds(is_random=random_ids))
        world.spans.append(world.tracer.start_span("first", start_time=1))
        for call in calls:
            told.append((f"result of {call}", outcome(lambda call=call: call.run(world))))
            told.append((f"log of {call}", list(lines)))
            lines.clear()
            told.append((f"spans after {call}", [read_span(span) for span in world.spans]))
        for span in world.spans:
            span.end(10**12)
        ended = world.recorder.ended
        told.append(("log of the end", list(lines)))
        told.append(("asked of the sampler", [(read_context(each[0]), *each[1:]) for each in sampler.asked]))
        told.append(("ended spans", [{**read_span(span), "is_recording": False} for span in ended]))
        told.append(("our message", encode_ours(ended)))
        told.append(("official messages", encode_official(ended)))
        if make_provider is not make_pipelines_provider:
            told.append(("calls of the processor", world.recorder.calls))
            # The spans in a context are told apart by their addresses.
            parents = [each and list(each) for each in world.recorder.parent_contexts]
            told.append(("parents given to the processor", parents))
    return told


def assert_same(
    calls: Sequence[Call],
    sampling: Sampling = ALL,
    limits: SpanLimits | None = None,
    *,
    random_ids: bool = True,
) -> None:
    """Makes the calls with the providers and compares step by step."""
    expected = tell(make_sdk_provider, calls, sampling, limits, random_ids)
    for make_provider in (make_our_provider, make_pipelines_provider):
        told = tell(make_provider, calls, sampling, limits, random_ids)
        for (what, result), (_, found) in zip(expected, told, strict=False):
            assert found == result, f"{what} ({make_provider.__name__})"


@pytest.mark.parametrize("theme", THEMES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_calls_have_the_same_results(theme: str, data: st.DataObject) -> None:
    """Results, exceptions, warnings, properties, JSON, both encoders' messages: all are as the SDK's."""
    calls = data.draw(THEMES[theme])
    limits = data.draw(LIMITS)
    assert_same(calls, data.draw(SAMPLING), limits, random_ids=data.draw(st.booleans()))


STATUS_CALLS = [
    *(
        SetStatus(0, code, description, None, is_status=False)
        for code in StatusCode
        for description in (None, "d")
    ),
    *(SetStatus(0, code, None, inner, is_status=True) for code in StatusCode for inner in (None, "i", 5)),
    SetStatus(0, StatusCode.ERROR, "ignored", "kept", is_status=True),
    SetStatus(0, StatusCode.ERROR, 5, None, is_status=False),
    SetStatus(0, StatusCode.ERROR, "", "", is_status=True),
    SetStatus(0, "ERROR", "d", None, is_status=False),
]


@pytest.mark.parametrize("first", STATUS_CALLS, ids=str)
def test_status_has_the_same_precedence(first: SetStatus) -> None:
    """Every pair of statuses, followed by another error: OK is final, UNSET is ignored."""
    for second in STATUS_CALLS:
        assert_same([first, second, SetStatus(0, StatusCode.ERROR, "last", None, is_status=False)])


@pytest.mark.parametrize("does_end", [True, False])
@pytest.mark.parametrize("does_set_status", [True, False])
@pytest.mark.parametrize("does_record", [True, False])
@pytest.mark.parametrize("failing", EVERY_FAILURE)
def test_blocks_are_left_alike(
    failing: Callable[[], None], does_record: bool, does_set_status: bool, does_end: bool
) -> None:
    """A span's own block, a current span's and `use_span`, with any exception, told what to record."""
    start = {
        "name": "block",
        "parent": 0,
        "kind": SpanKind.INTERNAL,
        "attributes": None,
        "links": None,
        "start_time": 5,
        "record_exception": does_record,
        "set_status_on_exception": does_set_status,
    }
    assert_same(
        [
            Start(**start),
            Enter(1, failing),
            Enter(1, failing),
            StartAsCurrent(**start, end_on_exit=does_end, inside=[], failing=failing),
            Use(0, does_end, does_record, does_set_status, failing),
            Use(0, does_end, does_record, does_set_status, failing),
        ]
    )
