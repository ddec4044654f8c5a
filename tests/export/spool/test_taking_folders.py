"""Owner directories that cannot be had: each is refused with its reason, and none is taken from its user."""

import os
from pathlib import Path

import pytest

from telemetry.export.spool.lock import DirectoryLock


def test_folder_that_others_always_take_first_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool reports it, rather than go on without a folder."""
    monkeypatch.setattr(DirectoryLock, "_lock", classmethod(lambda *_: None))
    with pytest.raises(OSError, match=f"no owner directory could be created in {tmp_path}"):
        DirectoryLock.create(tmp_path)


def test_folder_of_another_user_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could put other spans in their place. Which parents are trusted is shown elsewhere."""
    left = DirectoryLock.create(tmp_path)
    left.release()
    taken = DirectoryLock.take(left.folder)
    assert taken is not None
    taken.release()
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    assert DirectoryLock.take(left.folder) is None
    assert left.folder.is_dir()


def test_folder_that_is_held_is_not_taken(tmp_path: Path) -> None:
    """Its owner lives. What is no folder at all is left alone, too."""
    held = DirectoryLock.create(tmp_path)
    assert held.is_there
    assert DirectoryLock.take(held.folder) is None
    assert DirectoryLock.take(held.folder / "lock") is None
    held.release()
    assert not held.is_there
    assert held.folder.is_dir()


def test_folder_without_a_lock_is_removed_if_it_is_empty_and_taken_if_it_is_not(tmp_path: Path) -> None:
    """Its process ended between creating and locking it; or somebody copied the files without the lock."""
    empty, used = tmp_path / "1-00000000", tmp_path / "2-00000000"
    for folder in (empty, used):
        folder.mkdir(mode=0o700)
    (used / "file").touch()
    assert DirectoryLock.take(empty) is None
    taken = DirectoryLock.take(used)
    assert taken is not None
    assert taken.is_there
    taken.release()
    assert not empty.exists()
    assert used.exists()


def test_folder_with_contents_is_released_and_not_removed(tmp_path: Path) -> None:
    """The next process takes it; without contents, it goes."""
    lock = DirectoryLock.create(tmp_path)
    (lock.folder / "00000001.seg").touch()
    lock.remove()
    again = DirectoryLock.take(lock.folder)
    assert again is not None
    (again.folder / "00000001.seg").unlink()
    again.remove()
    assert not again.folder.exists()
