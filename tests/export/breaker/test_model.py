"""The breaker compared with a pure model of its rules, on a fake clock, over generated histories."""

import math
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from telemetry.export.breaker import (
    CHECK_SECONDS,
    SHORTEST_SHARE,
    BreakerSettings,
    CircuitBreaker,
    ConnectionCheck,
    Permit,
    Rejected,
)

# A tenth of the window, which is a bucket: model and buckets agree on the calls in it.
TICK = 1.0
CHECK_SPREAD, CHECK_PATIENCE = 0.6, 2.0
SETTINGS = BreakerSettings(
    failure_threshold=3,
    window_seconds=10 * TICK,
    failure_rate=0.5,
    minimum_calls=4,
    open_seconds=2.0,
    open_max_seconds=16.0,
    probes=2,
    lease_seconds=5.0,
)


@dataclass
class Model:
    """The documented rules, written as plainly as possible."""

    state: str = "closed"
    spell: int = 0
    until: float = 0.0
    exponent: int = 0
    in_a_row: int = 0
    calm: int = 0
    calls: list[tuple[float, bool]] = field(default_factory=list)
    probes: dict[int, float] = field(default_factory=dict)
    good_probes: int = 0
    stale: int = 0
    opened: int = 0
    check_at: float = math.inf
    checked_until: float = -math.inf
    opened_at: float = 0.0
    is_lost: bool = False

    def enter(self, state: str) -> None:
        """Enters a new state, or the same one again."""
        self.state, self.spell = state, self.spell + 1
        self.in_a_row = self.calm = self.good_probes = 0
        self.probes = {}
        self.check_at, self.is_lost = math.inf, False
        if state == "closed":
            self.calls = []

    def open(self, now: float, jitter: float, retry_after: float | None) -> None:
        """Opens for as long as the rules require."""
        ceiling = min(SETTINGS.open_max_seconds, SETTINGS.open_seconds * 2**self.exponent)
        self.until = now + max(ceiling * max(jitter, SHORTEST_SHARE), retry_after or 0.0)
        self.opened_at = now
        self.exponent += 1
        self.opened += 1
        self.enter("open")

    def check_decides(self, now: float) -> bool:
        """Returns whether connection checks decide, and not the open time."""
        return self.check_at != math.inf and now < self.check_at + CHECK_PATIENCE

    def plan_check(self, now: float, jitter: float) -> None:
        """Sets the time of the next connection check."""
        self.check_at = self.checked_until = now + CHECK_SECONDS + jitter * CHECK_SPREAD

    def calls_at(self, now: float) -> float:
        """Returns when an open breaker permits a call, unless a check succeeds before that."""
        if self.check_decides(now):
            return max(self.until, self.opened_at + SETTINGS.open_max_seconds)
        return self.until

    def settle_check(self, spell: int, now: float, *, is_reachable: bool) -> None:
        """Records the result of a connection check."""
        if spell != self.spell:
            return
        if is_reachable:
            self.until = now if self.is_lost else self.until
            self.check_at, self.is_lost = math.inf, False
        else:
            self.is_lost = True

    def acquire(self, number: int, now: float, jitter: float) -> bool:
        """Returns whether there is a permit."""
        if self.state in {"closed", "disabled"}:
            return True
        if self.state == "forced_open":
            return False
        if self.state == "half_open" and any(end <= now for end in self.probes.values()):
            self.open(now, jitter, None)
        if self.state == "open" and now >= self.calls_at(now):
            self.enter("half_open")
        if self.state == "open" or len(self.probes) + self.good_probes >= SETTINGS.probes:
            return False
        self.probes[number] = now + SETTINGS.lease_seconds
        return True

    def finish(
        self, number: int, spell: int, result: str, now: float, jitter: float, retry_after: float | None
    ) -> None:
        """Records the result of a call."""
        opened = self.opened
        self.judge(number, spell, result.removesuffix(" without answer"), now, jitter, retry_after)
        if result == "failure without answer" and self.opened > opened:
            self.check_at = max(now, self.checked_until)

    def judge(
        self, number: int, spell: int, result: str, now: float, jitter: float, retry_after: float | None
    ) -> None:
        """Decides what a result changes."""
        if spell != self.spell:
            self.stale += 1
            return
        self.probes.pop(number, None)
        if result == "ignore" or self.state == "disabled":
            return
        if self.state == "half_open":
            if result == "failure":
                self.open(now, jitter, retry_after)
            else:
                self.good_probes += 1
                if self.good_probes == SETTINGS.probes:
                    self.enter("closed")
            return
        self.calls.append((now, result == "failure"))
        if result == "success":
            self.in_a_row, self.calm = 0, self.calm + 1
            if self.calm == SETTINGS.minimum_calls:
                self.calm, self.exponent = 0, max(0, self.exponent - 1)
            return
        self.in_a_row += 1
        recent = self.recent(now)
        is_bad = len(recent) >= SETTINGS.minimum_calls and sum(recent) / len(recent) >= SETTINGS.failure_rate
        if self.in_a_row >= SETTINGS.failure_threshold or is_bad:
            self.open(now, jitter, retry_after)

    def recent(self, now: float) -> list[bool]:
        """Returns, for each call in the window, whether it failed."""
        return [failed for at, failed in self.calls if int(at / TICK) > int(now / TICK) - 10]


class BreakerMachine(RuleBasedStateMachine):
    """The breaker and the model get the same inputs and must never disagree."""

    permits = Bundle("permits")
    checks = Bundle("checks")

    @initialize()
    def begin(self) -> None:
        """Creates a new breaker and a new model."""
        self.now = 0.0
        self.jitter = 0.5
        self.number = 0
        self.model = Model()
        self.breaker = CircuitBreaker(SETTINGS, clock=lambda: self.now, random=lambda: self.jitter)

    @rule(ticks=st.sampled_from([0.25, 1.0, 2.0, 5.0, 11.0]), jitter=st.sampled_from([0.0, 0.5, 1.0]))
    def wait(self, ticks: float, jitter: float) -> None:
        """Lets time pass."""
        self.now += ticks
        self.jitter = jitter

    @rule(target=permits)
    def acquire(self) -> tuple[int, int, Permit | None]:
        """Asks both for a permit."""
        self.number += 1
        answer = self.breaker.acquire()
        assert isinstance(answer, Permit) is self.model.acquire(self.number, self.now, self.jitter)
        if isinstance(answer, Rejected):
            if self.model.state == "open":
                assert answer.retry_after_seconds == self.expected_wait()
            elif self.model.state == "half_open":
                assert answer.retry_after_seconds == min(self.model.probes.values()) - self.now
            else:
                assert answer.retry_after_seconds is None
            return (self.number, self.model.spell, None)
        return (self.number, self.model.spell, answer)

    def expected_wait(self) -> float:
        """Returns how long an open breaker has to wait, as the model says."""
        is_checked = self.model.check_decides(self.now)
        return max(0.0, (self.model.check_at if is_checked else self.model.until) - self.now)

    @rule(target=checks)
    def begin_check(self) -> tuple[int, ConnectionCheck | None]:
        """Asks whether a connection check is due."""
        check = self.breaker.check_connection()
        is_due = self.model.state == "open" and self.now >= self.model.check_at
        assert (check is not None) is is_due
        if is_due:
            self.model.plan_check(self.now, self.jitter)
        return self.model.spell, check

    @rule(check=consumes(checks), is_reachable=st.booleans(), again=st.booleans())
    def finish_check(
        self, check: tuple[int, ConnectionCheck | None], *, is_reachable: bool, again: bool
    ) -> None:
        """Reports a check's result, sometimes twice and differently."""
        spell, given = check
        if given is None:
            return
        given.settle(is_reachable=is_reachable)
        if again:
            given.settle(is_reachable=not is_reachable)
        self.model.settle_check(spell, self.now, is_reachable=is_reachable)

    @rule(
        permit=consumes(permits),
        result=st.sampled_from(["success", "failure", "failure without answer", "ignore"]),
        retry_after=st.sampled_from([None, None, 0.0, 7.0]),
        again=st.booleans(),
    )
    def finish(
        self, permit: tuple[int, int, Permit | None], result: str, retry_after: float | None, again: bool
    ) -> None:
        """Reports a call's result, sometimes twice."""
        number, spell, given = permit
        if given is None:
            return
        retry_after = retry_after if result == "failure" else None
        for _ in range(1 + again):
            if result.startswith("failure"):
                given.failure(retry_after_seconds=retry_after, is_answered=result == "failure")
            else:
                getattr(given, result)()
        self.model.finish(number, spell, result, self.now, self.jitter, retry_after)

    @rule(what=st.sampled_from(["force_open", "disable", "reset"]))
    def intervene(self, what: str) -> None:
        """Sets the state as an operator does."""
        getattr(self.breaker, what)()
        target = {"force_open": "forced_open", "disable": "disabled", "reset": "closed"}[what]
        if what == "reset":
            self.model.exponent = 0
        if what == "reset" or self.model.state != target:
            self.model.enter(target)

    @invariant()
    def agree(self) -> None:
        """Checks every reading against the model."""
        snapshot = self.breaker.snapshot()
        assert snapshot.state == self.model.state
        assert snapshot.stale_results_total == self.model.stale
        assert snapshot.opened_total == self.model.opened
        assert snapshot.consecutive_failures == self.model.in_a_row
        recent = self.model.recent(self.now)
        assert snapshot.failure_rate == (sum(recent) / len(recent) if recent else 0.0)
        if self.model.state == "open":
            assert snapshot.retry_in_seconds == self.expected_wait()
        else:
            assert snapshot.retry_in_seconds is None


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
