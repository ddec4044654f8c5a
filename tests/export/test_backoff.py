"""The backoff, with a clock and jitter of its own."""

import pytest
from support.clock import Clock

from telemetry.export.backoff import Backoff


def test_waits_double_up_to_a_second_and_start_again_after_a_success() -> None:
    """With the highest jitter each wait has its full length."""
    clock = Clock()
    backoff = Backoff(clock, lambda: 1.0)
    assert backoff.until < 0
    waits = []
    for number in range(7):
        if number == 6:
            backoff.succeed()
        clock.now = 1_000.0 * (number + 1)
        backoff.fail()
        waits.append(backoff.until - clock.now)
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1])


def test_jitter_is_full() -> None:
    """The shortest wait is none."""
    clock = Clock()
    backoff = Backoff(clock, lambda: 0.0)
    backoff.fail()
    assert backoff.until == clock.now


def test_asked_wait_is_kept_and_never_shortened() -> None:
    """Neither by jitter nor by the result of another request."""
    clock = Clock()
    backoff = Backoff(clock, lambda: 1.0)
    backoff.fail(30.0)
    assert backoff.until == clock.now + 30
    backoff.fail()
    backoff.succeed()
    assert backoff.until == clock.now + 30
