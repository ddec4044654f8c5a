"""The configured sampler is used and decides as documented."""

import os
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from support.clock import Clock

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError
from telemetry.tracing.sampling import AdjustableSampler, ConsistentRatioSampler, RateLimitedSampler

TRACE_IDS = st.integers(1, 2**128 - 1)


def parent(*, is_sampled: bool, state: str = "", trace_id: int = 1, is_remote: bool = True) -> Context:
    """Returns a context with a parent span."""
    span_context = SpanContext(
        trace_id, 1, is_remote, TraceFlags(is_sampled), TraceState.from_header([state]) if state else None
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context))


def is_kept(sampler: Sampler, trace_id: int, context: Context | None = None) -> bool:
    """Returns whether a span of this trace is sampled."""
    return sampler.should_sample(context, trace_id, "span").decision.is_sampled()


def state_of(sampler: Sampler, trace_id: int, context: Context | None = None) -> str:
    """Returns the tracestate that a span of this trace gets."""
    state = sampler.should_sample(context, trace_id, "span").trace_state
    return "" if state is None else state.to_header()


def configured(sampler: str, argument: float) -> AdjustableSampler:
    """Returns the sampler of a configuration."""
    return AdjustableSampler(TelemetryConfig(sampler=sampler, sampler_arg=argument))


@pytest.mark.parametrize(
    ("sampler", "argument", "is_parent_sampled", "expected"),
    [
        ("always_on", 0.0, False, True),
        ("always_off", 1.0, True, False),
        ("traceidratio", 1.0, False, True),
        ("traceidratio", 0.0, True, False),
        ("parentbased_always_on", 0.0, None, True),
        ("parentbased_always_on", 0.0, False, False),
        ("parentbased_always_off", 1.0, None, False),
        ("parentbased_always_off", 1.0, True, True),
        ("parentbased_traceidratio", 1.0, None, True),
        ("parentbased_traceidratio", 0.0, None, False),
        ("parentbased_traceidratio", 0.0, True, True),
        ("parentbased_traceidratio", 1.0, False, False),
        ("rate_limited", 100.0, None, True),
        ("rate_limited", 0.0, None, False),
        ("rate_limited", 0.0, True, True),
        ("rate_limited", 100.0, False, False),
    ],
)
def test_sampler_decides_as_its_name_says(
    sampler: str, argument: float, is_parent_sampled: bool | None, expected: bool
) -> None:
    """Decisions are made through the SDK's own provider, with and without a parent."""
    provider = TracerProvider(sampler=configured(sampler, argument), shutdown_on_exit=False)
    context = None if is_parent_sampled is None else parent(is_sampled=is_parent_sampled)
    span = provider.get_tracer("test").start_span("span", context)
    assert span.get_span_context().trace_flags.sampled is expected


@given(trace_id=TRACE_IDS, ratios=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_what_a_lower_ratio_keeps_a_higher_one_keeps_too(trace_id: int, ratios: list[float]) -> None:
    """Services with different ratios break no more traces than necessary."""
    lower, higher = (is_kept(ConsistentRatioSampler(ratio), trace_id) for ratio in ratios)
    assert higher or not lower


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.1, 0.5, 0.99, 1.0])
def test_the_kept_share_is_the_ratio(ratio: float) -> None:
    """The share is within five standard deviations of the binomial one, for ids like the SDK's."""
    ids = random.Random(4)
    sampler, count = ConsistentRatioSampler(ratio), 40_000
    kept = sum(is_kept(sampler, ids.getrandbits(128)) for _ in range(count))
    assert abs(kept - count * ratio) <= 5 * (count * ratio * (1 - ratio)) ** 0.5


@pytest.mark.parametrize(
    ("ratio", "context", "trace_id", "expected"),
    [
        (0.25, None, 2**56 - 1, "ot=th:c"),
        (0.25, None, 2**55, ""),
        (1.0, None, 1, "ot=th:0"),
        (0.0, None, 2**56 - 1, ""),
        (0.5, parent(is_sampled=True, state="v=1,ot=th:c;x:y"), 2**56 - 1, "ot=th:8;x:y,v=1"),
        (0.5, parent(is_sampled=True, state="v=1,ot=th:c"), 1, "v=1"),
        (0.5, parent(is_sampled=True, state="ot=rv:fffffffffffff0"), 1, "ot=th:8;rv:fffffffffffff0"),
    ],
)
def test_tracestate_carries_the_share_of_what_was_kept(
    ratio: float, context: Context | None, trace_id: int, expected: str
) -> None:
    """Counts can be extrapolated from kept traces; dropped ones get no threshold."""
    assert state_of(ConsistentRatioSampler(ratio), trace_id, context) == expected


@pytest.mark.parametrize("is_remote", [True, False])
def test_children_carry_their_traces_threshold(is_remote: bool) -> None:
    """Every span carries the threshold, not only the root."""
    context = parent(is_sampled=True, state="ot=th:c,v=1", is_remote=is_remote)
    assert state_of(configured("parentbased_traceidratio", 0.9), 1, context) == "ot=th:c,v=1"


@pytest.mark.parametrize("sampler", ["always_on", "parentbased_traceidratio", "rate_limited"])
@pytest.mark.parametrize("context", [None, parent(is_sampled=True, state="ot=th:c")], ids=["root", "child"])
def test_spans_keep_the_attributes_that_they_begin_with(sampler: str, context: Context | None) -> None:
    """The SDK takes the initial attributes from the sampler's result."""
    provider = TracerProvider(sampler=configured(sampler, 1.0), shutdown_on_exit=False)
    span = provider.get_tracer("test").start_span("span", context, attributes={"shop.order.id": 7})
    assert isinstance(span, ReadableSpan)
    assert dict(span.attributes or {}) == {"shop.order.id": 7}


def test_always_on_in_a_thinned_trace_stands_for_itself() -> None:
    """The parent's threshold would overcount a span that is kept regardless of the parent."""
    context = parent(is_sampled=False, state="ot=th:c")
    assert state_of(configured("always_on", 1.0), 1, context) == "ot=th:0"


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_is_a_share(ratio: float) -> None:
    """A ratio outside 0 to 1 is refused."""
    with pytest.raises(ValueError, match="is not within 0 to 1"):
        ConsistentRatioSampler(ratio)


def test_at_most_so_many_traces_a_second() -> None:
    """A burst gets one second's worth; afterwards traces are kept at the configured rate."""
    clock = Clock()
    sampler = RateLimitedSampler(10, clock)

    def burst() -> int:
        return sum(is_kept(sampler, 1) for _ in range(1_000))

    assert burst() == 10
    clock.now += 0.55
    assert burst() == 5
    clock.now += 3_600
    assert burst() == 10, "an idle hour saves up one second's worth"


def test_less_than_one_a_second_is_one_now_and_then() -> None:
    """The bucket must hold at least one token to ever give one."""
    clock = Clock()
    sampler = RateLimitedSampler(0.25, clock)
    kept = 0
    for _ in range(400):
        kept += is_kept(sampler, 1)
        clock.now += 0.1
    assert kept == 10


def test_no_rate_is_no_trace() -> None:
    """A rate of zero keeps no trace."""
    assert not any(is_kept(RateLimitedSampler(0), 1) for _ in range(100))


@pytest.mark.parametrize("per_second", [-1, float("inf"), float("nan")])
def test_a_rate_is_a_number_of_traces(per_second: float) -> None:
    """Negative, infinite and NaN rates are refused."""
    with pytest.raises(ValueError, match="is not 0 or more"):
        RateLimitedSampler(per_second)


def test_threads_share_one_rate() -> None:
    """Sixteen concurrent threads never take a token twice."""
    sampler, start, kept = RateLimitedSampler(500, Clock()), threading.Barrier(16), []

    def take() -> None:
        start.wait()
        kept.append(sum(is_kept(sampler, 1) for _ in range(500)))

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kept) == 500


def test_a_forked_child_has_a_rate_of_its_own() -> None:
    """A child forked while the lock is held neither hangs nor inherits an empty bucket."""
    sampler = RateLimitedSampler(1, Clock())
    assert is_kept(sampler, 1)
    with sampler._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if is_kept(sampler, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_rate_limited_traces_say_no_share() -> None:
    """The number of traces that each kept one represents is unknown."""
    assert state_of(RateLimitedSampler(1), 1, parent(is_sampled=True, state="v=1,ot=th:c")) == "v=1"


@pytest.mark.parametrize(
    ("sampler", "ratio"), [("always_on", 1.0), ("rate_limited", None), ("parentbased_traceidratio", 0.25)]
)
def test_the_ratio_in_effect_is_shown(sampler: str, ratio: float | None) -> None:
    """A sampler without a ratio shows None."""
    assert configured(sampler, 0.25).ratio == ratio


def test_only_a_ratio_can_be_adjusted() -> None:
    """The error names the sampler that has no ratio."""
    sampler = configured("parentbased_traceidratio", 0.0)
    sampler.adjust(1.0)
    assert is_kept(sampler, 1)
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER is rate_limited, which has no ratio"):
        configured("rate_limited", 5).adjust(0.5)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_SAMPLER": "rate_limited"}, "needs OTEL_TRACES_SAMPLER_ARG, the most traces a second"),
        (
            {"OTEL_TRACES_SAMPLER_ARG": "10"},
            "OTEL_TRACES_SAMPLER_ARG='10' cannot be .* a share of",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "rate_limited", "OTEL_TRACES_SAMPLER_ARG": "-1"},
            "greater than or equal to 0",
        ),
        ({"OTEL_TRACES_SAMPLER": "rate_limited", "OTEL_TRACES_SAMPLER_ARG": "inf"}, "finite number"),
        ({"OTEL_TRACES_SAMPLER": "xray"}, "does not exist for Python"),
    ],
)
def test_arguments_that_no_sampler_takes_are_refused(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start-up fails with a message."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        TelemetryConfig()


def test_rate_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is not a share and may exceed one."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "rate_limited")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "25")
    sampler = AdjustableSampler(TelemetryConfig())
    assert sum(is_kept(sampler, 1) for _ in range(100)) in range(25, 30)
