"""When one shopper's requests are due."""

import pytest

from loadtest.load.schedule import Schedule


def every_half_second(due: float) -> float:
    """Returns the next due time at two requests a second."""
    return due + 0.5


def test_shopper_who_is_in_time_waits() -> None:
    """It waits for the rest of the interval."""
    schedule = Schedule(100.0)

    assert schedule.advance(every_half_second, now=100.2) == pytest.approx(0.3)
    assert schedule.due == 100.5


def test_schedule_never_skips() -> None:
    """After a hang of two seconds four requests start at once, each counted from its due time."""
    schedule = Schedule(100.0)
    waits, dues = [], []
    for _ in range(6):
        waits.append(schedule.advance(every_half_second, now=102.25))
        dues.append(schedule.due)

    assert dues == [100.5, 101.0, 101.5, 102.0, 102.5, 103.0]
    assert waits == [0, 0, 0, 0, 0.25, 0.75]
