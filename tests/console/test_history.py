"""The history of readings behind the live charts."""

from dataclasses import replace

from console.live.history import History
from console.readings import Reading
from telemetry.export.breaker import BreakerState
from tests.console.test_readings import reading

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def with_breaker(at: float, state: BreakerState | None) -> Reading:
    """Returns a reading of a storefront in that state; None means that it does not answer."""
    service = reading(at).services["storefront"]
    assert service is not None
    return Reading(at, {"storefront": None if state is None else replace(service, breaker=state)})


def test_bands_follow_the_breaker_and_stop_where_nobody_answers() -> None:
    """Each stretch of one state is a band that ends where the next begins."""
    history = History()
    states = [CLOSED, CLOSED, OPEN, HALF_OPEN, None, CLOSED, CLOSED]
    history.follow([with_breaker(at, state) for at, state in enumerate(states, start=1)])
    found = [(band.text, band.start_ms, band.end_ms) for band in history.breaker_bands(["storefront"])]
    assert found == [
        ("closed", 1000, 3000),
        ("open", 3000, 4000),
        ("half open", 4000, 5000),
        ("closed", 6000, 7000),
    ]


def test_only_what_is_new_is_taken_and_what_is_old_forgotten() -> None:
    """The window is five minutes; a reading is never taken twice."""
    history = History()
    everything = [reading(at) for at in range(1, 700)]
    history.follow(everything[:400])
    history.follow(everything)
    ats = [each.at for each in history.readings]
    assert ats == [float(at) for at in range(399, 700)]
    assert len(history.rates) == len(ats)


def test_a_service_that_does_not_answer_is_a_gap() -> None:
    """Its value is None, not 0."""
    history = History()
    history.follow([with_breaker(1, CLOSED), with_breaker(2, None)])
    points = history.level(lambda one: it.waiting if (it := one.services["storefront"]) else None)
    assert points == [(1000, 17), (2000, None)]


def test_a_time_in_which_nobody_looked_is_a_gap() -> None:
    """Neither a band nor a rate spans a time without readings."""
    history = History()
    history.follow([with_breaker(at, CLOSED) for at in (1, 2, 3, 100, 101)])
    bands = [(band.start_ms, band.end_ms) for band in history.breaker_bands(["storefront"])]
    assert bands == [(1000, 4000), (100_000, 101_000)]
    assert (4000, None) in history.level(
        lambda one: it.waiting if (it := one.services.get("storefront")) else None
    )
    found = [
        (reading.at, rates is None) for reading, rates in zip(history.readings, history.rates, strict=True)
    ]
    assert found == [(1, True), (2, False), (3, False), (4, True), (100, True), (101, False)]
