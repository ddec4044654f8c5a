"""The limits that the documentation promises, in figures."""

import pytest
from support.breaker_rig import BreakerRig


def test_server_may_ask_for_five_minutes() -> None:
    """A longer Retry-After is cut, so that a mistake of the server's does not end telemetry."""
    rig = BreakerRig(failure_threshold=1, open_seconds=2)
    rig.permit().failure(retry_after_seconds=299.5)
    assert rig.breaker.snapshot().retry_in_seconds == 299.5
    rig.wait_out()
    rig.permit().failure(retry_after_seconds=301)
    assert rig.breaker.snapshot().retry_in_seconds == 300


def test_shortest_open_time_is_a_tenth() -> None:
    """Even if the jitter draws nothing."""
    rig = BreakerRig(jitter=0.0, open_seconds=2)
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == pytest.approx(0.2)
