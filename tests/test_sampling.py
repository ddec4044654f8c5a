"""The sampler that a configuration names is the one that decides."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from telemetry.config import TelemetryConfig
from telemetry.sampling import AdjustableSampler

PARENTS = {
    "sampled": trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(1)),
    "unsampled": trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(0)),
}


def is_kept(sampler: str, ratio: float, parent: str | None) -> bool:
    """Whether a span is sampled."""
    provider = TracerProvider(sampler=AdjustableSampler(TelemetryConfig(sampler=sampler, sampler_arg=ratio)))
    context = None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(PARENTS[parent]))
    return provider.get_tracer("test").start_span("span", context).get_span_context().trace_flags.sampled


@pytest.mark.parametrize(
    ("sampler", "ratio", "parent", "expected"),
    [
        ("always_on", 0.0, "unsampled", True),
        ("always_off", 1.0, "sampled", False),
        ("traceidratio", 1.0, "unsampled", True),
        ("traceidratio", 0.0, "sampled", False),
        ("parentbased_always_on", 0.0, None, True),
        ("parentbased_always_on", 0.0, "unsampled", False),
        ("parentbased_always_off", 1.0, None, False),
        ("parentbased_always_off", 1.0, "sampled", True),
        ("parentbased_traceidratio", 1.0, None, True),
        ("parentbased_traceidratio", 0.0, None, False),
        ("parentbased_traceidratio", 0.0, "sampled", True),
    ],
)
def test_sampler_decides_as_its_name_says(
    sampler: str, ratio: float, parent: str | None, expected: bool
) -> None:
    """With and without a parent."""
    assert is_kept(sampler, ratio, parent) is expected
