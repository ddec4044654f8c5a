"""What health is told of the drops of the last minute."""

from support.clock import Clock

from telemetry.export.ledger import Ledger


def test_drops_of_one_second_add_up() -> None:
    """However many there are, each is counted."""
    ledger = Ledger(clock=Clock())
    for _ in range(3):
        ledger.refuse()
        ledger.read()
    assert ledger.dropped_in_last_minute() == 3


def test_drops_of_several_seconds_add_up_and_age_out_one_by_one() -> None:
    """A drop counts for sixty seconds, the sixtieth included."""
    clock = Clock()
    ledger = Ledger(clock=clock)
    for _ in range(3):
        ledger.refuse()
        assert ledger.dropped_in_last_minute() > 0
        clock.now += 10
    clock.now += 30
    assert ledger.dropped_in_last_minute() == 3
    clock.now += 1
    assert ledger.dropped_in_last_minute() == 2


def test_drops_that_nobody_asks_about_are_forgotten_too() -> None:
    """A service without health checks that drops for weeks keeps no list of all those seconds."""
    clock = Clock()
    ledger = Ledger(clock=clock)
    for _ in range(500):
        ledger.refuse()
        ledger.read()
        clock.now += 1
    assert len(ledger._recent_drops) <= 61
