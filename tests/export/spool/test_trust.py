"""Which folders a spool may use: others must not be able to choose where spans go."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.forking import assert_child_succeeds
from support.spool_rig import SpoolRig

from telemetry.export.spool.trust import UntrustedFolderError, check_way, make_own_folder

STRANGER = 12_345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def trouble_of(folder: Path) -> str:
    """Returns why a spool refuses a folder, or an empty string."""
    rig = SpoolRig(folder)
    trouble = rig.spool.status.trouble or ""
    assert (rig.append() is None) == bool(trouble)
    rig.spool.forget_after_fork()
    return trouble


def test_symbolic_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    """It is not followed, whoever made it; the message says what to do."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link: remove it" in trouble_of(tmp_path / "spool")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_folder_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    """Anybody could have put batches into it, to be sent with this service's credentials."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o777)
    assert "chmod 700" in trouble_of(tmp_path / "spool")
    (tmp_path / "spool").chmod(0o770)  # as Kubernetes makes it with `fsGroup`
    assert not trouble_of(tmp_path / "spool")


def test_place_without_the_sticky_bit_is_refused(tmp_path: Path) -> None:
    """Whoever may write there could replace the folder at any time; with that bit only its owner can."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert f"everybody may replace what is in {shared}: chmod +t" in trouble_of(shared / "root" / "spool")
    assert list(shared.iterdir()) == []
    shared.chmod(0o1777)
    assert not trouble_of(shared / "root" / "spool")


@needs_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_a_stranger_put_into_a_shared_place_is_refused(kind: str, tmp_path: Path) -> None:
    """In /tmp anybody can make the folder of the setting first."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    planted = shared / "telemetry"
    if kind == "folder":
        planted.mkdir()
    else:
        (tmp_path / "of root").mkdir()
        planted.symlink_to(tmp_path / "of root")
    os.chown(planted, STRANGER, -1, follow_symlinks=False)
    trouble = trouble_of(planted / "spool")
    assert f"{planted} belongs to another user (uid {STRANGER}; this process has uid 0)" in trouble
    assert "TELEMETRY_SPOOL_DIR" in trouble


@needs_root
def test_root_may_use_the_folder_of_a_user_in_a_place_of_his(tmp_path: Path) -> None:
    """A bind mount of a user's folder, used by root in a container."""
    place = tmp_path / "home"
    place.mkdir()
    os.chown(place, STRANGER, STRANGER)
    assert not trouble_of(place / "spool")


@needs_root
@pytest.mark.parametrize("mode", [0o775, 0o1777])
def test_user_without_a_name_in_a_container_may_use_a_volume(mode: int) -> None:
    """An arbitrary uid in root's group, as on OpenShift, with a folder of root."""
    # pytest's own folders are closed to everybody else.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        volume = Path(name)
        volume.chmod(mode)

        def use() -> bool:
            os.setgid(0)
            os.setuid(1_000_650_000)
            return not trouble_of(volume / "spool")

        assert_child_succeeds(use)
        assert (volume / "spool").stat().st_uid == 1_000_650_000


def test_links_of_ones_own_on_the_way_are_followed(tmp_path: Path) -> None:
    """An administrator may lead a path to another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    make_own_folder(tmp_path / "absolute" / ".." / "link" / "spool")
    assert (tmp_path / "disk" / "spool").is_dir()


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """Not an endless loop."""
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(OSError, match="Too many levels"):
        check_way(tmp_path / "one" / "spool")


def test_mounted_volume_needs_no_sticky_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kubernetes mounts an `emptyDir` with mode 0777."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    with pytest.raises(UntrustedFolderError):
        make_own_folder(volume / "spool")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == volume)
    make_own_folder(volume / "spool")


def test_file_system_without_modes_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A share of Windows shows 0777 for everything, whatever is asked for."""
    real = Path.mkdir

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        real(path, *arguments, **options)
        path.chmod(0o777)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert not trouble_of(tmp_path / "share" / "spool" / "destination")
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["spool"]
