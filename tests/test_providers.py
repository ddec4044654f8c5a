"""Stopping all providers at interpreter exit."""

import threading

import pytest

from telemetry import providers
from telemetry.config import TelemetryConfig
from telemetry.process_end import EndBudget


@pytest.mark.parametrize("can_start_threads", [True, False])
def test_exit_stops_everyone_whatever_one_raises(
    can_start_threads: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If no thread can start, as at exit from Python 3.12 on, they share the time in sequence."""
    stopped: list[float] = []

    class Stopping:
        config = TelemetryConfig(service_name="breaks", shutdown_seconds=4)

        def stop(self, seconds: float) -> None:
            """Records its time and fails."""
            stopped.append(seconds)
            raise ZeroDivisionError

    class NoThread(threading.Thread):
        def start(self) -> None:
            """Refuses like an interpreter that is shutting down."""
            raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(providers, "_budget", EndBudget())
    monkeypatch.setattr(providers, "_all", {"one": Stopping(), "other": Stopping()})
    if not can_start_threads:
        monkeypatch.setattr(providers.threading, "Thread", NoThread)
    providers._stop_all()
    assert caplog.text.count("stopping the telemetry of breaks failed") == 2
    assert [round(seconds) for seconds in stopped] == ([4, 4] if can_start_threads else [2, 4])
