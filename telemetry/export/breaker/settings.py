"""Settings of the circuit breaker."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """Settings for when the breaker opens, for how long, and what closes it again.

    Raises:
        ValueError: a value is out of its range; the message names field, rule and value.
    """

    failure_threshold: int = 3
    """Consecutive failures that open it."""
    window_seconds: float = 30.0
    """The window over which the failure rate is computed, with a precision of one tenth of the window."""
    failure_rate: float = 0.5
    """The share of failed calls in the window that opens it, above 0 and at most 1."""
    minimum_calls: int = 5
    """Calls in the window before the rate counts; as many successes undo one doubling of the open time."""
    open_seconds: float = 2.0
    """Ceiling of the first open time; it doubles with each opening."""
    open_max_seconds: float = 60.0
    """Highest ceiling of the open time."""
    probes: int = 1
    """Successes that close a half-open breaker, and the most probes in flight."""
    lease_seconds: float = 30.0
    """How long a probe may go without a result before the next `acquire()` counts it as lost and reopens."""

    def __post_init__(self) -> None:
        for field in ("failure_threshold", "minimum_calls", "probes"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)!r}")
        if not self.window_seconds > 0:
            raise ValueError(f"window_seconds must be above 0, got {self.window_seconds!r}")
        for field in ("open_seconds", "lease_seconds"):
            # An endless wait or lease would never let the breaker close again.
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(f"{field} must be above 0 and finite, got {getattr(self, field)!r}")
        if not 0 < self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be above 0 and at most 1, got {self.failure_rate!r}")
        if not self.open_max_seconds >= self.open_seconds:
            raise ValueError(
                f"open_max_seconds must be at least open_seconds ({self.open_seconds!r}), "
                f"got {self.open_max_seconds!r}"
            )
