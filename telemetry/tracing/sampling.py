"""The sampler that a configuration names, which decides which traces are kept.

A decision needs the trace's id and its parent alone, so that the tracer can ask before it builds anything.
"""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from ..config import TelemetryConfig
from ..fork import call_in_forked_child
from .threshold import NONE, randomness_of, threshold_of, with_threshold

Verdict = tuple[bool, TraceState | None]
"""Whether the trace is kept, and the state that its spans carry."""


class DecidingSampler(Sampler):
    """A sampler that decides by the trace's id and the parent of the span alone."""

    follows_parent = False
    """Whether a valid parent's decision is every child's."""

    @abstractmethod
    def decide(self, trace_id: int, parent: SpanContext | None) -> Verdict:
        """Decides about one span.

        Args:
            trace_id: the trace's.
            parent: the span's parent; None for the first span of a trace.
        """

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
        """Decides, for any tracer; a sampled span begins with the given attributes."""
        is_kept, state = self.decide(trace_id, get_current_span(parent_context).get_span_context())
        if is_kept:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, trace_state=state)


class AdjustableSampler(DecidingSampler):
    """The sampler of `OTEL_TRACES_SAMPLER`, whose ratio can be changed while it runs. Thread-safe.

    Args:
        config: names the sampler and its argument.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._name = config.sampler
        self._ratio = config.sampling_ratio
        # Half a trace is of no use, so that one limited by its rate is always parent-based.
        self.follows_parent = self._name.startswith("parentbased_") or self._name == "rate_limited"
        self._root = _build(self._name, config.sampler_arg)

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
        self._root = _build(self._name, ratio)
        self._ratio = ratio

    def decide(self, trace_id: int, parent: SpanContext | None) -> Verdict:
        """Follows a valid parent, if the sampler is parent-based; otherwise decides for the trace."""
        if parent is not None and self.follows_parent and parent.is_valid:
            return parent.trace_flags.sampled, parent.trace_state
        return self._root.decide(trace_id, parent)

    def get_description(self) -> str:
        """Returns the description of the sampler in effect."""
        root = self._root.get_description()
        return f"ParentBased{{root:{root}}}" if self.follows_parent else root


class ConsistentRatioSampler(DecidingSampler):
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
        self._kept: Verdict = (
            True,
            None if self._threshold == NONE else with_threshold(None, self._threshold),
        )
        self._dropped: Verdict = False, None

    def decide(self, trace_id: int, parent: SpanContext | None) -> Verdict:
        """Keeps the trace or drops it; a parent's `ot=th` is replaced by this sampler's own."""
        found = None if parent is None else parent.trace_state
        if not found:
            return self._dropped if trace_id & (NONE - 1) < self._threshold else self._kept
        if randomness_of(trace_id, found) < self._threshold:
            return False, with_threshold(found, None)
        return True, with_threshold(found, self._threshold)

    def get_description(self) -> str:
        """Returns the name and the ratio."""
        return f"ConsistentRatioSampler{{{self._ratio:g}}}"


class RateLimitedSampler(DecidingSampler):
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

    def decide(self, trace_id: int, parent: SpanContext | None) -> Verdict:
        """Keeps the trace if a token is left."""
        found = None if parent is None else parent.trace_state
        return self._take(), with_threshold(found, None) if found else None

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


def _build(name: str, argument: float) -> DecidingSampler:
    match name.removeprefix("parentbased_"):
        case "traceidratio":
            return ConsistentRatioSampler(argument)
        case "rate_limited":
            return RateLimitedSampler(argument)
        case "always_on":
            # Writes its threshold to tracestate, in place of a parent's.
            return ConsistentRatioSampler(1)
        case _:
            return _OffSampler()


class _OffSampler(DecidingSampler):
    def decide(self, trace_id: int, parent: SpanContext | None) -> Verdict:
        return False, parent.trace_state if parent is not None and parent.is_valid else None

    def get_description(self) -> str:
        return "AlwaysOffSampler"
