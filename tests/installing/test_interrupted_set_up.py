"""`python3 -m requirements.install` run twice at once, killed, and interrupted."""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.package_index import serve
from support.pips import NEWEST_PIP
from support.project_to_set_up import EXPECTED, Project, make_python, path_with_uv, waiting_index


def test_two_at_once_install_once(project: Project, index: str, tmp_path: Path) -> None:
    """The second waits, says so, and finds everything done."""
    python = make_python(tmp_path / "python")
    both = [project.start(python, index) for _ in range(2)]
    said = [each.communicate(timeout=100)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sum("set up in" in each for each in said) == 1, said
    assert project.installed() == EXPECTED


def test_next_one_waits_for_what_a_killed_one_left_running(
    project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A killed set-up cannot stop its children, and nothing else may write before they end."""
    python, path = make_python(tmp_path / "python"), path_with_uv(tmp_path)
    with waiting_index(project.wheels) as (index, asked, answers):
        process = project.start(python, index, path)
        assert asked.wait(timeout=50)
        left = psutil.Process(process.pid).children(recursive=True)
        assert [each.name() for each in left] == ["uv"]
        process.kill()
        process.wait(timeout=50)
        following = project.start(python, index, path)
        assert following.stdout is not None
        assert "waiting for it" in following.stdout.readline()
        assert all(map(psutil.Process.is_running, left))
        answers.set()
        said, _ = following.communicate(timeout=100)
        process.communicate(timeout=50)
    assert following.returncode == 0, said
    assert project.installed() == EXPECTED
    until("its processes have ended", lambda: not any(map(psutil.Process.is_running, left)))


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Restores SIGHUP's default action, which children inherit, even under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_anywhere_it_leaves_no_process_and_goes_on(
    number: signal.Signals, project: Project, tmp_path: Path, until: Callable[..., None]
) -> None:
    """It is interrupted four times, at seeded random answers of the index, and then succeeds."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    draw = random.Random(number)
    for _ in range(4):
        asked, answers = threading.Semaphore(0), threading.Semaphore(0)

        def wait_for_leave(
            asked: threading.Semaphore = asked, answers: threading.Semaphore = answers
        ) -> None:
            asked.release()
            answers.acquire(timeout=50)

        with serve(project.wheels, wait_for_leave) as index:
            process = project.start(python, index)
            for _ in range(draw.randrange(4)):
                assert asked.acquire(timeout=50)
                answers.release()
            assert asked.acquire(timeout=50)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.send_signal(number)
            said, _ = process.communicate(timeout=50)
            answers.release(10)
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        until(
            "its processes have ended", lambda family=family: not any(map(psutil.Process.is_running, family))
        )
        assert not (project.folder / ".venv" / ".ready").exists()
    with serve(project.wheels) as index:
        status, said = project.set_up(python, index)
    assert status == 0, said
    assert project.installed() == EXPECTED
