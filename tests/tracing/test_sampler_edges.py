"""The edges of what samplers keep, asked as the tracer asks."""

import pytest
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from telemetry.config import TelemetryConfig
from telemetry.tracing.sampling import AdjustableSampler, ConsistentRatioSampler

STATE = TraceState([("vendor", "1")])


@pytest.mark.parametrize(
    ("parent", "state"),
    [
        (None, None),
        (SpanContext(0, 0, is_remote=True, trace_state=STATE), None),
        (SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE), STATE),
    ],
    ids=["none", "invalid", "valid"],
)
def test_nothing_is_kept_and_only_a_valid_parents_state_goes_on(
    parent: SpanContext | None, state: TraceState | None
) -> None:
    """The first span of a trace has no parent at all."""
    sampler = AdjustableSampler(TelemetryConfig(sampler="always_off"))
    assert sampler.decide(3, parent) == (False, state)


@pytest.mark.parametrize(("randomness", "is_kept"), [(1 << 55, True), ((1 << 55) - 1, False)])
def test_trace_is_kept_from_the_threshold_on(randomness: int, is_kept: bool) -> None:
    """The threshold itself is kept, whether the bits are the trace id's or carried by the state."""
    sampler = ConsistentRatioSampler(0.5)
    assert sampler.decide(randomness, None)[0] is is_kept
    for members in (f"rv:{randomness:014x}", "x:y"):
        parent = SpanContext(1, 2, is_remote=True, trace_state=TraceState([("ot", members)]))
        assert sampler.decide(randomness, parent)[0] is is_kept
