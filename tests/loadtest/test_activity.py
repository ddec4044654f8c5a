"""What an experiment does is told to Prometheus while it lasts."""

import logging
import time

import pytest
from support.metrics_receiver import receive_metrics

from loadtest.activity import Activity


def test_a_fault_is_told_at_once_and_ends_at_once() -> None:
    """1 while it lasts, 0 from its end on; each by kind and name."""
    with receive_metrics() as (url, receiver):
        activity = Activity(url)
        with activity.during("fault", "kill"):
            assert receiver.total("loadtest.activity", kind="fault", name="kill") == 1
        assert receiver.total("loadtest.activity", kind="fault", name="kill") == 0
        with activity.during("cell", "512 spans"):
            assert receiver.total("loadtest.activity", kind="cell", name="512 spans") == 1
            assert receiver.total("loadtest.activity", kind="fault") == 0
        activity.close()
        assert receiver.services == {"loadtest"}


def test_an_error_ends_the_band_too() -> None:
    """The block's error goes on."""
    with receive_metrics() as (url, receiver):
        activity = Activity(url)
        with pytest.raises(ZeroDivisionError), activity.during("fault", "pause"):
            raise ZeroDivisionError
        activity.close()
        assert receiver.history["loadtest.activity"][0] == 1
        assert receiver.history["loadtest.activity"][-1] == 0


def test_nobody_listening_is_said_once_and_stops_nothing(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Experiments do not depend on dashboards."""
    activity = Activity(f"http://127.0.0.1:{free_port}")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), activity.during("fault", "kill"):
        pass
    activity.close()
    assert time.monotonic() - started < 30
    warnings = [record.getMessage() for record in caplog.records if "loadtest" in record.getMessage()]
    assert len(warnings) == 1
    assert "does not take them" in warnings[0]
