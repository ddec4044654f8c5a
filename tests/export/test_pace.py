"""The pace at which a spool is replayed."""

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
