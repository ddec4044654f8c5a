"""Circuit breaker: stops calls to a service that keeps failing, and detects when it has recovered.

Independent of OpenTelemetry and HTTP: it issues permits and records the result of each call.

    closed ──(failures)──▶ open ──(its time is over, next acquire)──▶ half_open ──(probes succeed)──▶ closed
                             ▲                                            │
                             └────────(a probe fails or is lost)──────────┘

`forced_open` and `disabled` are set manually and left by `reset()`. An open breaker whose time is
over stays `open` until the next `acquire()`: reading the state changes nothing.

If a call without any answer opened it, connection checks are permitted, one a second: as long as they fail,
its time lasts for the longest open time, and when one succeeds after that, it is over at once. If already the
first succeeds, its time counts as usual.
"""

import enum
import logging
import random as random_module
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .reachability import ConnectionCheck, Reachability
from .settings import BreakerSettings
from .states import LEGAL_TRANSITIONS, BreakerSnapshot, BreakerState, Rejected, Transition
from .window import CallWindow

logger = logging.getLogger(__name__)

LONGEST_RETRY_AFTER_SECONDS = 300.0
"""The longest wait granted to a server that asks for one; it may exceed `open_max_seconds`."""
SHORTEST_SHARE = 0.1
"""Full jitter may draw next to nothing; an open breaker waits at least this share of its ceiling."""
_LARGEST_EXPONENT = 32
_RETURNED = "the service takes connections again"


class _Result(enum.Enum):
    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    IGNORED = enum.auto()


class Permit:
    """Permission for one call. Only the first reported result counts. Never raises.

    As a context manager, a permit without a result at the end of the block is ignored: a cancelled call is
    neither success nor failure.
    """

    __slots__ = ("_breaker", "_is_settled", "generation")

    def __init__(self, breaker: "CircuitBreaker", generation: int) -> None:
        self._breaker = breaker
        self._is_settled = False
        self.generation = generation
        """The breaker's generation when it was issued; a result from an earlier generation is stale."""

    def success(self) -> None:
        """Reports that the call succeeded."""
        self._breaker._record(self, _Result.SUCCESS)  # noqa: SLF001 - two halves of one thing

    def failure(self, *, retry_after_seconds: float | None = None, is_answered: bool = True) -> None:
        """Reports that the call failed.

        Args:
            retry_after_seconds: the wait that the server asked for, if any.
            is_answered: whether the server answered; if not, the caller may be asked to check connections.
        """
        self._breaker._record(  # noqa: SLF001
            self, _Result.FAILURE, retry_after_seconds, is_answered=is_answered
        )

    def ignore(self) -> None:
        """Reports a call that says nothing about the server: cancelled, throttled, or itself at fault."""
        self._breaker._record(self, _Result.IGNORED)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ignore()


class CircuitBreaker:
    """A breaker that issues permits while calls succeed, and rejections while they fail. Thread-safe.

    The lock guards bookkeeping only: no call, listener, clock, random source or logging runs under it.

    The open time is drawn with full jitter below `min(open_max_seconds, open_seconds * 2**n)`, never
    below `SHORTEST_SHARE` of that, and never below the wait that the server asked for (up to
    `LONGEST_RETRY_AFTER_SECONDS`). `n` grows by one with each opening and shrinks by one with every
    `minimum_calls` successes while closed: one lucky probe does not erase the memory of an outage.

    Only a failure is judged: successes that bring the number of calls to `minimum_calls` open nothing.

    Args:
        settings: the thresholds.
        clock: monotonic time in seconds.
        random: numbers from 0 to 1.
    """

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.settings = BreakerSettings() if settings is None else settings
        self._clock = clock
        self._random = random
        self._listeners: list[Callable[[Transition], None]] = []
        self._generation = 0
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        self._generation += 1  # never reset: a forked child may hold a permit of its parent
        self._latest = float("-inf")
        self._opened_at = self._open_until = 0.0
        self._reachability = Reachability()
        self._exponent = 0
        self._leases: dict[Permit, float] = {}
        self._probe_successes = 0
        self._consecutive_failures = 0
        self._successes_while_closed = 0
        self._window = CallWindow(self.settings.window_seconds)
        self._stale = 0
        self._transitions: Counter[tuple[BreakerState, BreakerState]] = Counter()
        self._events: deque[Transition] = deque()
        self._is_notifying = False

    def acquire(self) -> Permit | Rejected:
        """Requests a permit for one call."""
        clock, jitter = self._clock(), self._random()
        with self._lock:
            answer = self._acquire(self._now(clock), jitter)
        self._notify()
        return answer

    def check_connection(self) -> ConnectionCheck | None:
        """Returns permission to see whether the service takes connections; None unless that is due now.

        For callers that can connect without calling; who never asks, is served by the open time alone.
        """
        clock, jitter = self._clock(), self._random()
        with self._lock:
            now = self._now(clock)
            if self._state is not BreakerState.OPEN or now < self._reachability.next_at:
                return None
            self._reachability.begin_check(now, jitter)
            return ConnectionCheck(self._generation, self._settle_check)

    @property
    def state(self) -> BreakerState:
        """The present state."""
        with self._lock:
            return self._state

    def snapshot(self) -> BreakerSnapshot:
        """Returns one consistent reading; changes nothing."""
        clock = self._clock()
        with self._lock:
            now = self._now(clock)
            is_open = self._state is BreakerState.OPEN
            return BreakerSnapshot(
                state=self._state,
                retry_in_seconds=self._seconds_left(now) if is_open else None,
                opened_total=sum(n for (_, new), n in self._transitions.items() if new is BreakerState.OPEN),
                failure_rate=self._window.failure_rate(now),
                consecutive_failures=self._consecutive_failures,
                stale_results_total=self._stale,
                transitions=dict(self._transitions),
            )

    def force_open(self) -> None:
        """Rejects everything until `reset()`."""
        self._set(BreakerState.FORCED_OPEN, "forced open")

    def disable(self) -> None:
        """Permits everything and learns nothing, until `reset()`."""
        self._set(BreakerState.DISABLED, "disabled")

    def reset(self) -> None:
        """Closes the breaker and discards what it has learned; totals stay.

        A breaker that is closed already makes no transition, so no listener hears of it.
        """
        clock = self._clock()
        with self._lock:
            now = self._now(clock)
            self._exponent = 0
            if self._state is BreakerState.CLOSED:
                self._forget()
            else:
                self._transition(BreakerState.CLOSED, now, "reset")
        self._notify()

    def reset_after_fork(self) -> None:
        """Starts afresh in a forked child, with a new lock; listeners stay, older permits are stale."""
        self._begin()

    def add_listener(self, listener: Callable[[Transition], None]) -> None:
        """Adds a listener, called for each transition, in order, outside the lock; its exceptions are logged.

        It is called on the thread that caused the transition, or on one that still reports an earlier one.
        """
        with self._lock:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[Transition], None]) -> None:
        """Removes `listener`; harmless if it was never added."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _acquire(self, now: float, jitter: float) -> Permit | Rejected:
        if self._state in {BreakerState.CLOSED, BreakerState.DISABLED}:
            return Permit(self, self._generation)
        if self._state is BreakerState.FORCED_OPEN:
            return Rejected(self._state, None)
        if self._state is BreakerState.HALF_OPEN and any(end <= now for end in self._leases.values()):
            self._open(now, jitter, None, "a probe was lost")
        if self._state is BreakerState.OPEN:
            call_after = self._calls_at(now) - now
            if call_after > 0:
                return Rejected(self._state, self._seconds_left(now), call_after)
            reason = _RETURNED if self._reachability.has_returned else "the open time has elapsed"
            self._transition(BreakerState.HALF_OPEN, now, reason)
        if len(self._leases) + self._probe_successes >= self.settings.probes:
            return Rejected(self._state, min(self._leases.values()) - now)
        permit = Permit(self, self._generation)
        self._leases[permit] = now + self.settings.lease_seconds
        return permit

    def _calls_at(self, now: float) -> float:
        """Returns when a call is permitted if no check succeeds: a check may fail where a call would not."""
        if not self._reachability.decides(now):
            return self._open_until
        return max(self._open_until, self._opened_at + self.settings.open_max_seconds)

    def _seconds_left(self, now: float) -> float:
        """Returns the rest of the open time, or the time until the check that decides about it."""
        is_checked = self._reachability.decides(now)
        return max(0.0, (self._reachability.next_at if is_checked else self._open_until) - now)

    def _settle_check(self, check: ConnectionCheck, is_reachable: bool) -> None:
        clock = self._clock()
        with self._lock:
            if check.generation != self._generation:
                return
            self._reachability.settle(is_reachable=is_reachable)
            if self._reachability.has_returned:
                self._open_until = self._now(clock)

    def _record(
        self,
        permit: Permit,
        result: _Result,
        retry_after_seconds: float | None = None,
        *,
        is_answered: bool = True,
    ) -> None:
        clock, jitter = self._clock(), self._random()
        with self._lock:
            if permit._is_settled:  # noqa: SLF001 - two halves of one thing
                return
            permit._is_settled = True  # noqa: SLF001
            if permit.generation != self._generation:
                self._stale += 1
                return
            now = self._now(clock)
            self._leases.pop(permit, None)
            if self._state is BreakerState.HALF_OPEN:
                self._settle_probe(now, jitter, result, retry_after_seconds)
            elif self._state is BreakerState.CLOSED:
                self._settle_closed(now, jitter, result, retry_after_seconds)
            if self._state is BreakerState.OPEN and not is_answered:
                self._reachability.suspect(now)
        self._notify()

    def _settle_probe(
        self, now: float, jitter: float, result: _Result, retry_after_seconds: float | None
    ) -> None:
        if result is _Result.FAILURE:
            self._open(now, jitter, retry_after_seconds, "a probe failed")
        elif result is _Result.SUCCESS:
            self._probe_successes += 1
            if self._probe_successes >= self.settings.probes:
                self._transition(BreakerState.CLOSED, now, "enough probes succeeded")

    def _settle_closed(
        self, now: float, jitter: float, result: _Result, retry_after_seconds: float | None
    ) -> None:
        if result is _Result.IGNORED:
            return
        is_failure = result is _Result.FAILURE
        self._window.add(now, is_failure=is_failure)
        if not is_failure:
            self._consecutive_failures = 0
            self._successes_while_closed += 1
            if self._successes_while_closed >= self.settings.minimum_calls:
                self._successes_while_closed = 0
                self._exponent = max(0, self._exponent - 1)
            return
        self._consecutive_failures += 1
        rate = self._window.failure_rate(now)
        if self._consecutive_failures >= self.settings.failure_threshold:
            self._open(now, jitter, retry_after_seconds, f"{self._consecutive_failures} consecutive failures")
        elif self._window.calls(now) >= self.settings.minimum_calls and rate >= self.settings.failure_rate:
            self._open(now, jitter, retry_after_seconds, f"{rate:.0%} of calls failed")

    def _open(self, now: float, jitter: float, retry_after_seconds: float | None, reason: str) -> None:
        ceiling = min(self.settings.open_max_seconds, self.settings.open_seconds * 2.0**self._exponent)
        wait = ceiling * max(SHORTEST_SHARE, min(1.0, jitter))
        if retry_after_seconds is not None:
            wait = max(wait, min(retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS))
        self._exponent = min(self._exponent + 1, _LARGEST_EXPONENT)
        self._opened_at, self._open_until = now, now + wait
        self._transition(BreakerState.OPEN, now, reason)

    def _set(self, state: BreakerState, reason: str) -> None:
        clock = self._clock()
        with self._lock:
            if self._state is not state:
                self._transition(state, self._now(clock), reason)
        self._notify()

    def _transition(self, state: BreakerState, now: float, reason: str) -> None:
        """Changes the state, which happens nowhere else. Called with the lock held."""
        if state not in LEGAL_TRANSITIONS[self._state]:
            raise AssertionError(f"illegal transition {self._state} -> {state}")
        self._transitions[self._state, state] += 1
        self._events.append(Transition(self._state, state, now, reason))
        self._state = state
        self._forget()

    def _forget(self) -> None:
        """Starts a new generation: results of permits issued before it are stale."""
        self._generation += 1
        self._reachability.forget()
        self._leases.clear()
        self._probe_successes = 0
        self._consecutive_failures = 0
        self._successes_while_closed = 0
        if self._state is BreakerState.CLOSED:
            self._window.clear()

    def _now(self, clock: float) -> float:
        # A clock that steps back, or a thread that read it and was overtaken before it got the lock,
        # must neither lengthen a wait nor revive a bucket.
        self._latest = max(self._latest, clock)
        return self._latest

    def _notify(self) -> None:
        """Notifies listeners of transitions, in order, from one thread at a time, outside the lock."""
        while self._events:
            with self._lock:
                if self._is_notifying or not self._events:
                    return  # the thread that is notifying continues until nothing is left
                self._is_notifying = True
                event = self._events.popleft()
                listeners = tuple(self._listeners)
            try:
                for listener in listeners:
                    try:
                        listener(event)
                    except (Exception, SystemExit):
                        # A permit never raises, and the other listeners must hear of it, too.
                        logger.exception("a circuit breaker listener raised an exception")
            finally:
                with self._lock:
                    self._is_notifying = False
