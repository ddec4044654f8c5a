"""Experiments report to Prometheus what they are doing."""

import logging
import time

import pytest
from support.metrics_receiver import receive_metrics

from loadtest.activity import Activity


def test_a_fault_is_reported_at_once_and_ends_at_once() -> None:
    """The metric, by kind and name, is 1 while the fault lasts and 0 afterwards."""
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
    """The block's error propagates."""
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
    """An unreachable Prometheus costs one warning; experiments do not depend on dashboards."""
    activity = Activity(f"http://127.0.0.1:{free_port}")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), activity.during("fault", "kill"):
        pass
    activity.close()
    assert time.monotonic() - started < 30
    warnings = [record.getMessage() for record in caplog.records if "loadtest" in record.getMessage()]
    assert len(warnings) == 1
    assert "does not accept them" in warnings[0]
