"""How long the breaker stays open: doubling, jitter, the server's Retry-After, decay after success."""

import pytest
from support.breaker_rig import CLOSED, OPEN, BreakerRig

from telemetry.export.breaker import (
    LONGEST_RETRY_AFTER_SECONDS,
    SHORTEST_SHARE,
    Rejected,
)


def test_open_rejects_and_says_when_to_ask_again() -> None:
    """An open breaker gives no permit until its open time is over."""
    rig = BreakerRig(open_seconds=2)
    rig.trip()
    assert rig.rejection() == Rejected(OPEN, 2.0)
    rig.clock.now += 1.5
    assert rig.rejection().retry_after_seconds == pytest.approx(0.5)


def test_open_time_doubles_up_to_its_ceiling() -> None:
    """Each opening waits longer, up to the ceiling."""
    rig = BreakerRig(open_seconds=2, open_max_seconds=10)
    rig.trip()
    waits = []
    for _ in range(5):
        waits.append(rig.breaker.snapshot().retry_in_seconds)
        rig.wait_out()
        rig.fail()
    assert waits == [2, 4, 8, 10, 10]


@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.3, 1.0])
def test_jitter_draws_below_the_ceiling_and_never_next_to_nothing(jitter: float) -> None:
    """The open time has full jitter, with a floor."""
    rig = BreakerRig(jitter=jitter, open_seconds=2)
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == pytest.approx(2 * max(jitter, SHORTEST_SHARE))


def test_server_may_ask_for_more_patience_within_reason() -> None:
    """Retry-After is a floor of the open time, and is itself bounded."""
    rig = BreakerRig(failure_threshold=1, open_seconds=2)
    rig.permit().failure(retry_after_seconds=90)
    assert rig.breaker.snapshot().retry_in_seconds == 90
    rig.wait_out()
    rig.permit().failure(retry_after_seconds=0.001)
    assert rig.breaker.snapshot().retry_in_seconds == 4
    rig.wait_out()
    rig.permit().failure(retry_after_seconds=1e9)
    assert rig.breaker.snapshot().retry_in_seconds == LONGEST_RETRY_AFTER_SECONDS


def test_one_lucky_probe_does_not_forget_the_outage_but_lasting_success_does() -> None:
    """The exponent shrinks by one after each run of `minimum_calls` successes."""
    rig = BreakerRig(open_seconds=1, open_max_seconds=100, minimum_calls=5)
    rig.trip()
    for _ in range(3):
        rig.wait_out()
        rig.fail()
    rig.wait_out()
    rig.succeed()
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 16
    rig.wait_out()
    rig.succeed()
    rig.succeed(20)
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 2


def test_long_success_does_not_make_the_first_open_time_shorter() -> None:
    """Successes reduce the exponent to zero at most; they are not saved up for the next outage."""
    rig = BreakerRig(open_seconds=2, minimum_calls=5)
    rig.succeed(100)
    rig.clock.now += 60
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 2


def test_clock_that_steps_back_neither_lengthens_a_wait_nor_raises() -> None:
    """The breaker's time never goes back."""
    rig = BreakerRig(open_seconds=2)
    rig.trip()
    rig.clock.now -= 500
    assert rig.rejection().retry_after_seconds == 2
    rig.clock.now += 502
    rig.succeed()
    assert rig.breaker.state is CLOSED
