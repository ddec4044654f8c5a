"""The compose runtime where containers are not available, and the choice between the runtimes."""

from pathlib import Path

import pytest
from rich.console import Console

from stack.compose.runtime import ComposeRuntime
from stack.errors import StackError
from stack.native.runtime import NativeRuntime
from stack.runtime import choose_runtime
from stack.settings import StackSettings

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without docker."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A docker command without an engine behind its socket."""
    folder = tmp_path / "bin"
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.usefixtures("no_docker")
def test_no_docker_is_an_obstacle_with_its_name(settings: StackSettings) -> None:
    """Only `up` raises an error, which names the obstacle and the alternative."""
    compose = ComposeRuntime(settings, Console(quiet=True))
    assert compose.obstacle() == "docker is not installed"
    assert not compose.is_up()
    assert compose.clean() == []
    with pytest.raises(StackError, match=r"docker is not installed\.\n.* `make up RUNTIME=native`"):
        compose.up()


@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_an_obstacle(settings: StackSettings) -> None:
    """The command alone is not enough."""
    assert ComposeRuntime(settings, Console(quiet=True)).obstacle() == "no Docker engine answers"


@pytest.mark.usefixtures("no_docker")
def test_native_is_chosen_where_containers_cannot_be_had_and_the_reason_is_given(
    settings: StackSettings, runtime: NativeRuntime
) -> None:
    """The reason says why compose was not chosen."""
    runtimes = (ComposeRuntime(settings, Console(quiet=True)), runtime)
    chosen, reason = choose_runtime(settings, runtimes, to_start=True)
    assert (chosen, reason) == (runtime, "no compose: docker is not installed")


class Kind:
    """A runtime reduced to what the choice looks at."""

    def __init__(self, kind: str, *, is_up: bool = False, obstacle: str | None = None) -> None:
        self.kind = kind
        self._is_up = is_up
        self._obstacle = obstacle

    def is_up(self) -> bool:
        """Returns whether it is up."""
        return self._is_up

    def obstacle(self) -> str | None:
        """Returns why it cannot be used."""
        return self._obstacle


@pytest.mark.parametrize(
    ("asked", "compose", "native", "to_start", "expected"),
    [
        ("", Kind("compose"), Kind("native"), True, "compose"),
        ("", Kind("compose", obstacle="no engine"), Kind("native"), True, "native"),
        ("", Kind("compose"), Kind("native", is_up=True), True, "native"),
        ("", Kind("compose", is_up=True), Kind("native"), False, "compose"),
        ("", Kind("compose"), Kind("native"), False, "native"),
        ("native", Kind("compose"), Kind("native"), True, "native"),
        ("compose", Kind("compose", obstacle="no engine"), Kind("native"), True, "compose"),
        ("compose", Kind("compose"), Kind("native", is_up=True), False, "compose"),
    ],
)
def test_choice(
    asked: str, compose: Kind, native: Kind, to_start: bool, expected: str, settings: StackSettings
) -> None:
    """It is the requested runtime, else the one that is up, else compose where available."""
    wanted = settings.model_copy(update={"runtime": asked})
    chosen, reason = choose_runtime(wanted, (compose, native), to_start=to_start)  # type: ignore[arg-type]
    assert chosen.kind == expected
    assert reason


def test_second_runtime_is_refused_while_the_first_is_up(settings: StackSettings) -> None:
    """Both need the same ports."""
    wanted = settings.model_copy(update={"runtime": "compose"})
    runtimes = (Kind("compose"), Kind("native", is_up=True))
    with pytest.raises(StackError, match="make down RUNTIME=native"):
        choose_runtime(wanted, runtimes, to_start=True)  # type: ignore[arg-type]
