"""Connection checks of a breaker that calls without an answer have opened."""

import itertools

import pytest
from support.breaker_rig import CLOSED, HALF_OPEN, OPEN, BreakerRig

from telemetry.export.breaker import CHECK_SECONDS, ConnectionCheck, Permit, Rejected, Transition


class UnreachableRig(BreakerRig):
    """A breaker that calls without an answer have just opened."""

    def __init__(self, jitter: float = 1.0, **settings: float) -> None:
        super().__init__(jitter, **settings)
        for _ in range(self.breaker.settings.failure_threshold):
            self.permit().failure(is_answered=False)
        assert self.breaker.state is OPEN

    def check(self) -> ConnectionCheck:
        """Waits until a check is due, and returns it."""
        self.wait_out()
        check = self.breaker.check_connection()
        assert check is not None
        return check


def test_lost_service_is_asked_each_second_however_long_it_is_away() -> None:
    """A call is permitted once a minute at most, and the time from check to check does not grow."""
    rig = UnreachableRig(open_seconds=2, open_max_seconds=60)
    began, called = [], [rig.clock.now]
    for _ in range(600):
        check = rig.check()
        began.append(rig.clock.now)
        assert rig.breaker.check_connection() is None
        check.settle(is_reachable=False)
        answer = rig.breaker.acquire()
        if isinstance(answer, Permit):
            called.append(rig.clock.now)
            answer.failure(is_answered=False)
    assert len(called) > 10
    assert min(later - earlier for earlier, later in itertools.pairwise(called)) >= 60
    waits = {later - earlier for earlier, later in itertools.pairwise(began)}
    assert max(waits) == pytest.approx(1.6 * CHECK_SECONDS)
    assert min(waits) >= CHECK_SECONDS


def test_call_is_permitted_now_and_then_where_only_checks_fail() -> None:
    """A slow resolver, for instance, may be too slow for a check."""
    rig = UnreachableRig(open_seconds=2, open_max_seconds=60)
    waited = rig.clock.now + 60
    while isinstance(answer := rig.breaker.acquire(), Rejected):
        rig.check().settle(is_reachable=False)
    assert rig.clock.now >= waited
    answer.success()
    assert rig.breaker.state is CLOSED


def test_call_is_permitted_as_soon_as_a_connection_was_made() -> None:
    """After an hour as after a second."""
    rig = UnreachableRig(open_seconds=2, open_max_seconds=60)
    for _ in range(3_000):
        rig.check().settle(is_reachable=False)
    rig.check().settle(is_reachable=True)
    assert rig.clock.now > 3_000
    heard: list[Transition] = []
    rig.breaker.add_listener(heard.append)
    rig.succeed()
    assert [event.to_state for event in heard] == [HALF_OPEN, CLOSED]
    assert heard[0].reason == "the service takes connections again"


def test_service_that_takes_connections_all_the_time_keeps_the_open_time() -> None:
    """It has another trouble; a check tells nothing about that, and is not repeated."""
    rig = UnreachableRig(open_seconds=8)
    rig.check().settle(is_reachable=True)
    assert rig.rejection().retry_after_seconds == pytest.approx(8)
    rig.clock.now += 5
    assert rig.breaker.check_connection() is None
    rig.wait_out()
    rig.permit()
    assert rig.breaker.state is HALF_OPEN


def test_call_that_fails_after_a_connection_waits_as_usual_and_longer() -> None:
    """A port that a proxy keeps open for a dead service."""
    rig = UnreachableRig(open_seconds=2, open_max_seconds=60)
    rig.check().settle(is_reachable=False)
    rig.check().settle(is_reachable=True)
    waits = []
    for _ in range(4):
        rig.permit().failure(is_answered=False)
        opened_at = rig.clock.now
        rig.check().settle(is_reachable=True)
        rig.wait_out()
        waits.append(rig.clock.now - opened_at)
    assert waits == pytest.approx([4, 8, 16, 32])


def test_answered_failure_is_never_followed_by_a_check() -> None:
    """The server is there."""
    rig = BreakerRig()
    rig.trip()
    rig.clock.now += 1.5
    assert rig.breaker.check_connection() is None


def test_closed_half_open_and_forced_breakers_do_not_check() -> None:
    """Only an open one has reason to."""
    rig = UnreachableRig()
    rig.breaker.force_open()
    rig.clock.now += 10
    assert rig.breaker.check_connection() is None
    rig.breaker.reset()
    assert rig.breaker.check_connection() is None
    rig = UnreachableRig()
    rig.check().settle(is_reachable=False)
    rig.check().settle(is_reachable=True)
    rig.permit()
    rig.clock.now += 10
    assert rig.breaker.check_connection() is None


def test_caller_that_never_checks_is_served_by_the_open_time() -> None:
    """It waits a little for a check that another caller might make, but not forever."""
    rig = UnreachableRig(open_seconds=2)
    waited = 0.0
    while isinstance(answer := rig.breaker.acquire(), Rejected):
        step = max(answer.retry_after_seconds or 0.0, 0.25)
        rig.clock.now += step
        waited += step
    assert waited <= 4
    answer.success()
    assert rig.breaker.state is CLOSED


def test_result_of_an_earlier_spell_changes_nothing() -> None:
    """A check that was slow says nothing about the next outage."""
    rig = UnreachableRig(open_seconds=8)
    late = rig.check()
    rig.breaker.reset()
    for _ in range(rig.breaker.settings.failure_threshold):
        rig.permit().failure(is_answered=False)
    late.settle(is_reachable=True)
    assert rig.rejection().retry_after_seconds == pytest.approx(1.6)  # a check of this spell decides
    assert rig.breaker.snapshot().state is OPEN


def test_first_result_of_a_check_counts() -> None:
    """As with a permit."""
    rig = UnreachableRig(open_seconds=8)
    check = rig.check()
    check.settle(is_reachable=False)
    check.settle(is_reachable=True)
    assert isinstance(rig.breaker.acquire(), Rejected)
