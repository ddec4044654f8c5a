"""The counts of several processes add up to those of a single one."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from loadtest.load.report import FailedRequest
from loadtest.load.tally import NAMED_FAILURES, Tally

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def failure(minute: int) -> FailedRequest:
    """Returns a failure at this minute past noon."""
    at = NOON + timedelta(minutes=minute)
    return FailedRequest(at=at, method="GET", name="/", error=f"{minute}", trace_id=None)


def test_histograms_add_up() -> None:
    """Percentiles of the sum are those of all values, over several reports of each worker."""
    whole, leader, workers = Tally(), Tally(), [Tally(), Tally()]
    for index in range(1_000):
        latency, ended = random.lognormvariate(-4, 1), whole.started + index / 100
        for tally in (whole, workers[index % 3 == 0]):
            tally.note_times(latency_seconds=latency, delay_seconds=latency / 2, ended=ended)
        if index % 300 == 0:
            leader.add("0", workers[0].take())
    for name, worker in enumerate(workers):
        leader.add(f"{name}", worker.take())

    for share in (1, 50, 95, 99, 100):
        assert leader.percentile_ms(share) == whole.percentile_ms(share) > 0
        assert leader.late_ms(share) == whole.late_ms(share) > 0
    assert leader.ended == whole.ended


def test_three_significant_digits_are_kept() -> None:
    """Locust alone would round to 1,200 ms."""
    tally = Tally()
    tally.note_times(latency_seconds=1.2345, delay_seconds=0, ended=0)

    assert tally.percentile_ms(99) == pytest.approx(1234.5, rel=1e-3)


def test_first_failures_of_all_are_reported() -> None:
    """They are the earliest, regardless of which worker reported first."""
    leader, late, early = Tally(), Tally(), Tally()
    for minute in range(NAMED_FAILURES + 5):
        late.note_failure(failure(minute + 30))
    early.note_failure(failure(2))
    leader.add("late", late.take())
    leader.add("early", early.take())

    assert [each.error for each in leader.first_failures] == ["2", *(f"{30 + i}" for i in range(9))]


def test_expected_errors_add_up() -> None:
    """Each is reported once."""
    leader, worker = Tally(), Tally()
    worker.expected_errors["GET /: 404"] += 2
    leader.add("worker", worker.take())
    worker.expected_errors["GET /: 404"] += 1
    leader.add("worker", worker.take())

    assert leader.expected_errors == {"GET /: 404": 3}


def test_busiest_process_counts() -> None:
    """One saturated process spoils the run, however idle the others are."""
    leader = Tally()
    empty = {**Tally().take(), "ended": 0}
    leader.add("a", {**empty, "cpu_share": 0.2})
    leader.add("b", {**empty, "cpu_share": 5.0})
    leader.add("b", {**empty, "cpu_share": 0.9})

    assert leader.highest_cpu_share == 0.9
