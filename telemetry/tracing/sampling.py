"""The sampler that a configuration names, which decides which traces are kept."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from ..config import TelemetryConfig
from ..fork import call_in_forked_child
from .threshold import NONE, randomness_of, threshold_of, with_threshold


class AdjustableSampler(Sampler):
    """The sampler of `OTEL_TRACES_SAMPLER`, whose ratio can be changed while it runs. Thread-safe.

    Args:
        config: names the sampler and its argument.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._name = config.sampler
        self._ratio = config.sampling_ratio
        self._inner = _build(self._name, config.sampler_arg)

    @property
    def ratio(self) -> float | None:
        """The share of new traces kept; None for the rate-limited sampler."""
        return self._ratio

    @property
    def is_adjustable(self) -> bool:
        """Whether it has a ratio to change."""
        return self._name.endswith("traceidratio")

    def adjust(self, ratio: float) -> None:
        """Keeps this share of new traces from now on; running traces keep their decision.

        Raises:
            ValueError: the ratio is not between 0 and 1, or the sampler has none.
        """
        if not self.is_adjustable:
            raise ValueError(
                f"sampling_ratio={ratio!r} cannot be set: OTEL_TRACES_SAMPLER is {self._name}, which has no "
                "ratio; use parentbased_traceidratio"
            )
        # Each is replaced as a whole; for an instant, a reader may see the new sampler with the old ratio.
        self._inner = _build(self._name, ratio)
        self._ratio = ratio

    def should_sample(self, *arguments: Any, **options: Any) -> SamplingResult:
        """Delegates to the sampler in effect."""
        return self._inner.should_sample(*arguments, **options)

    def get_description(self) -> str:
        """Returns the description of the sampler in effect."""
        return self._inner.get_description()


class ConsistentRatioSampler(Sampler):
    """A sampler that keeps a share of traces by random bits and records it in `tracestate`. Thread-safe.

    It is consistent: traces kept at a lower ratio are a subset of those kept at a higher one, whichever
    sampler decides ("TraceState: Probability Sampling" of the OpenTelemetry specification). It replaces
    `TraceIdRatioBased`, which is not consistent and does not publish its ratio.

    Args:
        ratio: the share of traces to keep, 0 to 1.
    """

    def __init__(self, ratio: float) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio={ratio!r} is not within 0 to 1")
        self._ratio = ratio
        self._threshold = threshold_of(ratio)
        # A trace that begins here has no state yet: it gets this one, or none.
        self._new_state = None if self._threshold == NONE else with_threshold(None, self._threshold)
        self._dropped = SamplingResult(Decision.DROP)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Keeps the trace or drops it; a parent's `ot=th` is replaced by this sampler's own."""
        # The span begins with the result's attributes, so the given ones must be in it.
        found = get_current_span(parent_context).get_span_context().trace_state or trace_state
        if not found:
            if trace_id & (NONE - 1) < self._threshold:
                return self._dropped
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, self._new_state)
        if randomness_of(trace_id, found) < self._threshold:
            return SamplingResult(Decision.DROP, trace_state=with_threshold(found, None))
        kept_state = with_threshold(found, self._threshold)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, kept_state)

    def get_description(self) -> str:
        """Returns the name and the ratio."""
        return f"ConsistentRatioSampler{{{self._ratio:g}}}"


class RateLimitedSampler(Sampler):
    """A token-bucket sampler that limits the traces kept per second. Thread-safe.

    In any t seconds, at most `per_second` x t + max(1, `per_second`) traces are kept: the bucket holds one
    second's worth, so that a burst after a pause is seen. `tracestate` gets no threshold, since it is unknown
    how many traces each kept one represents.

    Args:
        per_second: traces a second, 0 or more.
        clock: monotonic time in seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 <= per_second < float("inf"):
            raise ValueError(f"per_second={per_second!r} is not 0 or more")
        self._per_second = per_second
        self._capacity = max(1.0, per_second) if per_second else 0.0
        self._clock = clock
        self._lock: threading.Lock
        self._tokens: float
        self._filled_at: float
        self._fill()
        call_in_forked_child(self._fill)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Keeps the trace if a token is left."""
        found = get_current_span(parent_context).get_span_context().trace_state or trace_state
        state = with_threshold(found, None) if found else None
        if self._take():
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, trace_state=state)

    def get_description(self) -> str:
        """Returns the name and the limit."""
        return f"RateLimitedSampler{{{self._per_second:g}/s}}"

    def _take(self) -> bool:
        with self._lock:
            now = self._clock()
            self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def _fill(self) -> None:
        self._lock = threading.Lock()
        self._tokens = self._capacity
        self._filled_at = self._clock()


def _build(name: str, argument: float) -> Sampler:
    match name.removeprefix("parentbased_"):
        case "traceidratio":
            root: Sampler = ConsistentRatioSampler(argument)
        case "rate_limited":
            # Always parent-based, since half a trace is of no use.
            return ParentBased(RateLimitedSampler(argument))
        case "always_on":
            # Writes its threshold to tracestate, in place of a parent's.
            root = ConsistentRatioSampler(1)
        case _:
            root = ALWAYS_OFF
    return ParentBased(root) if name.startswith("parentbased_") else root
