"""Forks: parent and child hold no descriptor and no lock of each other."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.forking import assert_child_succeeds
from support.paths import ROOT
from support.spool_rig import SpoolRig
from support.waiting import wait_until

from telemetry.export.spool import descriptors
from telemetry.export.spool.descriptors import opened
from telemetry.export.spool.lock import DirectoryLock, is_owned


def open_below(folder: Path) -> list[str]:
    """Returns this process's open files below a folder."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # the one that lists them
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[SpoolRig]:
    """A spool whose thread opens, locks, lists and closes files all the time."""
    rig = SpoolRig(tmp_path / "spool", max_bytes=2**16)
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            heir = SpoolRig(tmp_path / "spool")
            heir.append(b"x" * 100)
            heir.take()
            heir.spool.pause()
            heir.spool.close()
            rig.append(b"x" * 1_000)
            rig.adopt_all()
            rig.take_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield rig
    finally:
        is_over.set()
        thread.join()
        rig.spool.forget_after_fork()


def test_child_has_no_descriptor_whatever_the_parent_was_doing(busy: SpoolRig, tmp_path: Path) -> None:
    """The fork may come between any two steps of the worker."""
    for _ in range(150):
        assert_child_succeeds(lambda: not open_below(tmp_path))
    assert busy.spool._directory.own is not None
    assert is_owned(busy.spool._directory.own), "the parent's lock is still the parent's"


def test_fork_between_opening_a_file_and_noting_it_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or the child would not know that it has a copy."""
    real, is_open, go_on = os.open, threading.Event(), threading.Event()

    def slowly(*arguments: Any, **options: Any) -> int:
        descriptor = real(*arguments, **options)
        if threading.current_thread() is thread:
            is_open.set()
            go_on.wait(20)
        return descriptor

    def work() -> None:
        with opened(tmp_path / "file", os.O_RDWR):
            is_over.wait(20)

    (tmp_path / "file").touch()
    is_over = threading.Event()
    thread = threading.Thread(target=work)
    monkeypatch.setattr(descriptors, "_LONGEST_HOLD_SECONDS", 20)
    monkeypatch.setattr(os, "open", slowly)
    thread.start()
    assert is_open.wait(20)
    threading.Timer(0.1, go_on.set).start()
    assert_child_succeeds(lambda: not open_below(tmp_path))
    assert open_below(tmp_path) == [str(tmp_path / "file")]
    is_over.set()
    thread.join()


def test_lock_of_a_child_is_free_when_the_child_has_ended(tmp_path: Path) -> None:
    """The parent holds nothing of it, nor does the child's younger brother."""
    SpoolRig(tmp_path / "spool").spool.close()
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        rig = SpoolRig(tmp_path / "spool")
        rig.append(b"of the child")
        os.write(tell, b".")
        signal.pause()
    try:
        os.read(ready, 1)
        (owner,) = (path for path in (tmp_path / "spool").iterdir() if path.is_dir())
        assert is_owned(owner)
        assert not open_below(tmp_path)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not is_owned(owner)
    heir = SpoolRig(tmp_path / "spool")
    heir.adopt_all()
    assert heir.take_all() == [b"of the child"]
    heir.spool.forget_after_fork()


PARENT = """
    import os, signal, sys
    from pathlib import Path
    from support.spool_rig import SpoolRig

    rig = SpoolRig(Path(sys.argv[1]))
    rig.append(b"of the parent")
    read_end, write_end = os.pipe()
    pid = os.fork()  # nobody tells the child's copy of the spool
    if pid == 0:
        os.write(write_end, b".")
        signal.pause()
    os.read(read_end, 1)
    print(pid, flush=True)
    signal.pause()
"""


def test_lock_of_a_killed_parent_is_free_while_its_child_lives(tmp_path: Path) -> None:
    """Even of a spool that no pipeline resets in the child."""
    source = tmp_path / "parent.py"
    source.write_text(textwrap.dedent(PARENT))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, str(source), str(tmp_path / "spool")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        (owner,) = (path for path in (tmp_path / "spool").iterdir() if path.is_dir())
        assert is_owned(owner)
        parent.kill()
        parent.wait()
        try:
            wait_until("the lock to be free", lambda: not is_owned(owner))
            os.kill(child, 0)  # it lives
            lock = DirectoryLock.take(owner)
            assert lock is not None
            lock.release()
        finally:
            os.kill(child, signal.SIGKILL)
