"""The breaker opens on consecutive failures or on a failure rate within a window."""

import pytest
from support.breaker_rig import CLOSED, OPEN, BreakerRig


def test_consecutive_failures_open_and_a_success_between_does_not_count() -> None:
    """Three failures in a row open the breaker; two, a success and two more do not."""
    rig = BreakerRig(minimum_calls=100)
    rig.fail(2)
    rig.succeed()
    rig.fail(2)
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failure_rate_opens_only_from_the_minimum_of_calls_on() -> None:
    """A failure rate of one half opens the breaker, but only after enough calls."""
    rig = BreakerRig(failure_threshold=100, minimum_calls=6, failure_rate=0.5)
    for _ in range(2):
        rig.fail()
        rig.succeed()
    rig.fail()
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failure_rate_opens_at_its_very_value() -> None:
    """A rate equal to the configured one opens the breaker."""
    rig = BreakerRig(failure_threshold=100, minimum_calls=4, failure_rate=0.5)
    rig.succeed(2)
    rig.fail()
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failures_leave_the_window_with_time() -> None:
    """A failure older than the window no longer counts."""
    rig = BreakerRig(failure_threshold=100, minimum_calls=2, failure_rate=0.9, window_seconds=10)
    rig.fail()
    rig.clock.now += 11
    assert rig.breaker.snapshot().failure_rate == 0
    rig.fail()
    assert rig.breaker.state is CLOSED


def test_window_is_as_long_as_it_says() -> None:
    """A failure counts through the last tenth of the window, and no longer."""
    rig = BreakerRig(window_seconds=10)
    rig.fail()
    rig.clock.now += 9
    assert rig.breaker.snapshot().failure_rate == 1
    rig.clock.now += 1
    assert rig.breaker.snapshot().failure_rate == 0


def test_success_that_completes_the_minimum_of_calls_opens_nothing() -> None:
    """Only a failure is judged, whatever share of the calls has failed."""
    rig = BreakerRig(failure_threshold=100, minimum_calls=5, failure_rate=0.5)
    rig.fail(3)
    rig.succeed(2)
    assert rig.breaker.snapshot().failure_rate == pytest.approx(0.6)
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN
