"""Many processes that share one outage, on a simulated clock, with the library's breaker, back-off and pace.

Connections are refused at once while the Collector is away, as by a host whose process has died.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from telemetry.export.backoff import Backoff
from telemetry.export.breaker import BreakerState, CircuitBreaker, Rejected
from telemetry.export.pace import ReplayPace

_BATCH_SECONDS = 1.0
"""From one fresh batch of a process to the next."""
_CALL_SECONDS = 0.005
"""How long the Collector takes for a batch."""
_BEFORE_SECONDS = 5.0
_AFTER_SECONDS = 90.0
_WINDOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a simulated outage has shown."""

    closed_after: Sequence[float]
    """Seconds from the Collector's return until each process's breaker closed."""
    most_checks: int
    """The most connection checks of one process in a second."""
    most_batches: int
    """The most batches that the Collector got in a second after its return."""
    most_connections: int
    """The most that were made to it in a second then: successful checks, and each process's first call."""


@dataclass(slots=True)
class _Collector:
    """The server, and what has reached it."""

    away_from: float
    away_until: float
    batches: list[float] = field(default_factory=list)
    """When each was taken."""
    connections: list[float] = field(default_factory=list)
    """When each was made after its return."""

    def is_there(self, now: float) -> bool:
        return not self.away_from <= now < self.away_until


class _Process:
    """One process, which ends a batch of spans each second."""

    def __init__(self, collector: _Collector, chance: random.Random, spans: int, *, is_asking: bool) -> None:
        self.now = 0.0
        self.closed_at: float | None = None
        self.checks: list[float] = []
        self._collector = collector
        self._chance = chance
        self._spans = spans
        self._is_asking = is_asking
        self._breaker = CircuitBreaker(clock=lambda: self.now, random=chance.random)
        self._backoff = Backoff(lambda: self.now, chance.random)
        self._pace = ReplayPace()
        self._fresh: deque[int] = deque()
        self._late: deque[int] = deque()
        self._arrives_at = chance.random() * _BATCH_SECONDS
        self._ask_at = self._busy_until = -math.inf
        self._broken_since: float | None = None

    def wake(self, now: float) -> float:
        """Does what is due; returns when the next thing is."""
        self.now = now
        if now >= self._arrives_at:
            self._fresh.append(self._spans)
            self._pace.fresh(self._spans, now)
            self._arrives_at += _BATCH_SECONDS
        self._look_at_breaker()
        if now >= self._send_at():
            self._send()
        return max(now + 1e-6, min(self._arrives_at, self._send_at()))

    def _look_at_breaker(self) -> None:
        is_closed = self._breaker.state is BreakerState.CLOSED
        if not is_closed and self._broken_since is None:
            self._broken_since = self.now
        elif is_closed and self._broken_since is not None:
            self._late.extend(self._fresh)
            self._fresh.clear()
            if self._is_asking:
                self._pace.begin_after_outage(
                    self.now,
                    self._chance.random(),
                    spans_waiting=sum(self._late),
                    outage_seconds=self.now - self._broken_since,
                )
            else:
                self._pace.begin(self.now, self._chance.random())
            self._broken_since = None

    def _send_at(self) -> float:
        if not self._fresh and not self._late:
            return math.inf
        is_paced = self._broken_since is None and not self._fresh
        pause = self._pace.next_at if is_paced else -math.inf
        return max(self._busy_until, self._backoff.until, self._ask_at, pause)

    def _send(self) -> None:
        permit = self._breaker.acquire()
        if isinstance(permit, Rejected):
            self._ask_at = self.now + max(permit.retry_after_seconds or 0.0, 0.01)
            self._check()
            return
        waiting = self._fresh or self._late
        spans = waiting.popleft()
        self._busy_until = self.now + _CALL_SECONDS
        self._ask_at = -math.inf
        if not self._collector.is_there(self.now):
            waiting.appendleft(spans)
            permit.failure(is_answered=not self._is_asking)
            self._backoff.fail()
            return
        permit.success()
        self._backoff.succeed()
        self._collector.batches.append(self.now)
        if waiting is self._late:
            self._pace.sent(spans, self.now)
        if self.closed_at is None and self.now >= self._collector.away_until:
            self.closed_at = self.now
            self._collector.connections.append(self.now)

    def _check(self) -> None:
        check = self._breaker.check_connection() if self._is_asking else None
        if check is not None:
            self.checks.append(self.now)
            is_there = self._collector.is_there(self.now)
            if is_there:
                self._collector.connections.append(self.now)
            check.settle(is_reachable=is_there)
            self._ask_at = -math.inf if is_there else self._ask_at


def simulate(
    *, processes: int, outage_seconds: float, spans_per_second: int, is_asking: bool, seed: int
) -> Recovery:
    """Simulates one outage.

    Args:
        processes: how many share it.
        outage_seconds: how long the Collector is away.
        spans_per_second: of each process.
        is_asking: whether they check connections and spread what waited, or leave it to the open time.
        seed: of all randomness.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    collector = _Collector(_BEFORE_SECONDS, _BEFORE_SECONDS + outage_seconds)
    spans = round(spans_per_second * _BATCH_SECONDS)
    every = [
        _Process(collector, random.Random(chance.random()), spans, is_asking=is_asking)  # noqa: S311
        for _ in range(processes)
    ]
    due = [(0.0, number) for number in range(processes)]
    end = collector.away_until + _AFTER_SECONDS
    while due[0][0] < end:
        now, number = heapq.heappop(due)
        heapq.heappush(due, (every[number].wake(now), number))
    after = [at for at in collector.batches if at >= collector.away_until]
    return Recovery(
        [math.inf if it.closed_at is None else it.closed_at - collector.away_until for it in every],
        max(most_in_a_second(it.checks) for it in every),
        most_in_a_second(after),
        most_in_a_second(collector.connections),
    )


def most_in_a_second(moments: Sequence[float]) -> int:
    """Returns how many moments, which are in their order and in seconds, fall into any one second at most."""
    most = first = 0
    for number, at in enumerate(moments):
        while moments[first] <= at - _WINDOW_SECONDS:
            first += 1
        most = max(most, number - first + 1)
    return most
