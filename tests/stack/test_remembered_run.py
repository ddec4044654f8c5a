"""A run of the real programs from the command line, and a later shell that only says which run it means."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.free_ports import free_ports

from stack.settings import ROOT, StackSettings, load_settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    """The settings of this run."""
    return load_settings(stack_run_dir=tmp_path / "run", **free_ports())


@pytest.fixture
def later(settings: StackSettings) -> Iterator[Call]:
    """Calls `python -m stack` in a shell that names only the run folder and the given variables."""
    kept = {
        name: value for name, value in os.environ.items() if name.lower() not in StackSettings.model_fields
    }

    def call(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "stack", *arguments],
            cwd=ROOT,
            env={
                **kept,
                "STACK_RUN_DIR": str(settings.stack_run_dir),
                "COMPOSE_PROJECT_NAME": os.environ["COMPOSE_PROJECT_NAME"],  # nobody's containers
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    yield call
    call("down")


def test_later_shell_speaks_to_the_run(settings: StackSettings, later: Call) -> None:
    """It uses the run's ports and workers; the console is a part too, and commands say what they did."""
    ports = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
    up = later("up", RUNTIME="native", WEB_CONCURRENCY="2", **ports)
    assert up.returncode == 0, up.stdout
    status = later("status")
    assert status.returncode == 0, status.stdout
    assert f"127.0.0.1:{settings.storefront_port}/docs" in status.stdout
    assert "WEB_CONCURRENCY=2" in status.stdout
    for command, done, nothing in (
        ("pause", "is frozen", "was frozen already"),
        ("resume", "goes on", "was not frozen"),
        ("kill", "is dead", "was dead already"),
        ("start", "is up", "was up already"),
    ):
        said = [later(command, "console") for _ in range(2)]
        assert [each.returncode for each in said] == [0, 0], said
        assert [done in said[0].stdout, nothing in said[1].stdout] == [True, True], said
    again = later("up", RUNTIME="native", WEB_CONCURRENCY="2", **ports)
    assert (again.returncode, "restarting" in again.stdout) == (0, False), again.stdout
    down = later("down", STOREFRONT_PORT="web")
    assert down.returncode == 0, down.stdout
    assert "is down" in down.stdout
    forgotten = later("status")
    assert forgotten.returncode == 1
    assert "WEB_CONCURRENCY" not in forgotten.stdout
