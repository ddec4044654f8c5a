"""The states of a breaker, the ways between them, and what it tells of itself."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class BreakerState(enum.StrEnum):
    """The state of the breaker, which determines whether `acquire()` returns a permit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


LEGAL_TRANSITIONS: Mapping[BreakerState, frozenset[BreakerState]] = {
    BreakerState.CLOSED: frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.DISABLED}),
    BreakerState.OPEN: frozenset(
        {BreakerState.HALF_OPEN, BreakerState.CLOSED, BreakerState.FORCED_OPEN, BreakerState.DISABLED}
    ),
    BreakerState.HALF_OPEN: frozenset(
        {BreakerState.CLOSED, BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.DISABLED}
    ),
    BreakerState.FORCED_OPEN: frozenset({BreakerState.CLOSED, BreakerState.DISABLED}),
    BreakerState.DISABLED: frozenset({BreakerState.CLOSED, BreakerState.FORCED_OPEN}),
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """The answer of `acquire()` when it gives no permit."""

    state: BreakerState
    retry_after_seconds: float | None
    """How long to wait before asking again; None if only `reset()` changes the state."""
    call_after_seconds: float | None = field(default=None, compare=False)
    """How long an open breaker permits no call unless a connection check succeeds."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, as reported to listeners."""

    from_state: BreakerState
    to_state: BreakerState
    at: float
    """On the breaker's clock, in seconds."""
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """One consistent reading of the breaker."""

    state: BreakerState
    retry_in_seconds: float | None
    """The rest of the open time, or the time until the connection check that decides; None if not open."""
    opened_total: int
    failure_rate: float
    """In the window; 0 if there were no calls."""
    consecutive_failures: int
    stale_results_total: int
    """Results that came after the state had changed."""
    transitions: Mapping[tuple[BreakerState, BreakerState], int]
