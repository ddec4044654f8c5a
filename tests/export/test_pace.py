"""The pace of what has waited."""

import pytest

from telemetry.export.pace import ReplayPace


def test_replay_is_paced_by_fresh_data() -> None:
    """The rate is 2,000 spans a second or twice the fresh rate; the start is jittered after a pause."""
    pace = ReplayPace()
    pace.begin(100.0, 0.25)
    assert pace.next_at == 100.25
    pace.sent(1_000, 100.25)
    assert pace.next_at == 100.75
    pace.fresh(25_000, 101.0)  # 5,000 a second over 5 s
    pace.sent(1_000, 101.0)
    assert pace.next_at == pytest.approx(101.1)
    pace.fresh(0, 120.0)  # long ago
    pace.sent(1_000, 120.0)
    assert pace.next_at == 120.5


@pytest.mark.parametrize(
    ("waiting", "outage", "rate"),
    [
        (1_000, 10.0, 50.0),  # over twice the outage
        (6_000, 45.0, 100.0),  # over a minute
        (20, 0.01, 200.0),  # a tenth of a second at least
        (1_000_000, 3_600.0, 2_000.0),  # no faster than any other replay
    ],
)
def test_what_waited_through_an_outage_is_spread(waiting: int, outage: float, rate: float) -> None:
    """All the processes that shared it have a backlog at the same moment."""
    pace = ReplayPace()
    pace.begin_after_outage(100.0, 0.5, spans_waiting=waiting, outage_seconds=outage)
    start = 100 + 1.5 * min(outage, 1.0)
    assert pace.next_at == pytest.approx(start)
    pace.sent(10, start)
    assert pace.next_at == pytest.approx(start + 10 / rate)


def test_spread_ends() -> None:
    """Also for spans that nobody had counted when it began, such as those of a process that died later."""
    pace = ReplayPace()
    pace.begin_after_outage(100.0, 0.0, spans_waiting=1, outage_seconds=30)
    pace.sent(512, 101.0)
    assert pace.next_at == 161
    pace.sent(512, 161.0)
    assert pace.next_at == pytest.approx(161 + 512 / 2_000)


def test_second_short_outage_does_not_throw_the_spread_away() -> None:
    """The Collector that many processes overload is the one that needs it."""
    pace = ReplayPace()
    pace.begin_after_outage(100.0, 0.0, spans_waiting=60_000, outage_seconds=300)
    pace.begin_after_outage(104.0, 0.0, spans_waiting=57_000, outage_seconds=0.3)
    pace.sent(1_000, 104.3)
    assert pace.next_at == pytest.approx(104.3 + 1, abs=0.05)


def test_next_start_without_an_outage_is_not_spread() -> None:
    """Such as of what an earlier process has left."""
    pace = ReplayPace()
    pace.begin_after_outage(100.0, 0.5, spans_waiting=100, outage_seconds=60)
    pace.begin(200.0, 0.0)
    pace.sent(1_000, 200.0)
    assert pace.next_at == 200.5
