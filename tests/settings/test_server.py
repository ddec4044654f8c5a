"""The configured number of server workers, and the warning when they share no folder."""

from pathlib import Path

import pytest

from telemetry.config import TelemetryConfig
from telemetry.settings.server import announced_workers


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, ["/usr/bin/uvicorn", "app:app"], 1),
        ({"WEB_CONCURRENCY": "4"}, [], 4),
        ({"WEB_CONCURRENCY": "many"}, [], 1),
        ({}, ["/usr/bin/uvicorn", "app:app", "--workers", "3"], 3),
        ({}, ["/lib/uvicorn/__main__.py", "app:app", "--workers=3"], 3),
        ({}, ["/usr/bin/gunicorn", "-w", "2", "app:app"], 2),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers=5"}, ["/usr/bin/gunicorn", "app:app"], 5),
        ({}, ["/usr/bin/gunicorn", "-w4", "app:app"], 4),
        ({"WEB_CONCURRENCY": "4"}, ["/usr/bin/uvicorn", "app:app", "--workers", "1"], 1),
        ({}, ["/usr/bin/somebody", "--workers", "3"], 1),
        ({}, ["/usr/bin/fastapi", "run", "--workers", "2"], 2),
    ],
)
def test_number_of_workers_that_was_announced(
    environment: dict[str, str], arguments: list[str], expected: int
) -> None:
    """The number comes from the servers' own variables and options."""
    assert announced_workers(environment, arguments) == expected


@pytest.mark.parametrize(("folder_is_set", "warns"), [(False, True), (True, False)])
def test_several_workers_without_a_folder_warn(
    folder_is_set: bool,
    warns: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise each scrape would show a different worker."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    if folder_is_set:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    TelemetryConfig().log_suspicions()
    assert ("set PROMETHEUS_MULTIPROC_DIR to a folder" in caplog.text) == warns
