"""What is extracted from a release archive, and which archives are recorded."""

import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support.publisher import CONTENTS, GRAFANA, JAEGER, Publisher, archive, ensured, refused

from stack.native import releases
from stack.native.cache import cache_folder
from stack.native.products import products_of
from stack.settings import ROOT, load_settings


@pytest.mark.parametrize("has_filter", [True, False], ids=["filter", "no filter"])
@pytest.mark.parametrize("kind", ["outside", "absolute", "link"])
def test_archive_cannot_write_outside_its_folder(
    kind: str, has_filter: bool, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for whole trees, even with a recorded checksum, and for single programs."""
    if not has_filter:  # as in Python 3.11.2, Debian 12's
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    victim = tmp_path / "victim"
    evil = tarfile.TarInfo(
        {"outside": "../../../victim", "absolute": str(victim), "link": "grafana-13.2.3/l"}[kind]
    )
    if kind == "link":
        evil.type, evil.linkname = tarfile.SYMTYPE, str(tmp_path)
    for path in (GRAFANA, JAEGER):
        publisher.files[path] = archive(*CONTENTS[path], extra=evil)
    publisher.record(releases.RECORDS)
    programs, output = ensured()
    assert programs.paths["jaeger"].exists()
    assert not victim.exists()
    assert not [path for path in cache_folder().rglob("*") if path.is_symlink()]
    if kind != "absolute" or not has_filter:  # the filter makes a relative path of it
        assert not programs.have_grafana
        assert "cannot be unpacked" in output


def test_program_that_is_a_link_is_not_taken(publisher: Publisher) -> None:
    """A link in place of a program could point to any file of the machine."""
    link = tarfile.TarInfo("jaeger-2.20.0-linux-amd64/jaeger")
    link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
    publisher.files[JAEGER] = archive("README.md", extra=link)
    publisher.record(releases.RECORDS)
    assert "holds no jaeger-2.20.0-linux-amd64/jaeger" in refused()


def test_archive_that_is_not_recorded_is_not_asked_for(publisher: Publisher) -> None:
    """The message names the version and the machine."""
    said = refused(jaeger_version="2.99.0")
    assert "jaeger 2.99.0 is not available: records names no archive of it for linux-amd64" in said
    assert not [path for path, _ in publisher.asked if "2.99.0" in path]


def test_checksum_command_records_what_it_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    """A new line replaces the old one, and a failed download changes nothing."""
    command = (
        "import sys\nfrom pathlib import Path\nfrom stack import cli as stack\n"
        "stack.RECORDS = Path(sys.argv.pop(1))\nstack.main()"
    )
    file = tmp_path / "own records"
    address = publisher.url + JAEGER
    file.write_text(f"# kept\n{'0' * 64}  {address}\n{'1' * 64}  https://github.com/other\n")

    def call(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", command, str(file), "checksum", url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    done = call(address)
    assert done.returncode == 0, done.stdout + done.stderr
    digest = hashlib.sha256(publisher.files[JAEGER]).hexdigest()
    recorded = f"# kept\n{'1' * 64}  https://github.com/other\n{digest}  {address}\n"
    assert file.read_text() == recorded
    done = call(publisher.url + "/nothing")
    assert done.returncode == 1
    assert "answers 404" in done.stdout
    assert file.read_text() == recorded


def test_every_version_of_the_env_file_is_recorded_for_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version changed in `.env` alone would silently be built, and Grafana be missing."""
    monkeypatch.setattr(releases.platform, "system", lambda: "Linux")
    monkeypatch.setattr(releases.platform, "machine", lambda: "x86_64")
    for product in products_of(load_settings()):
        assert re.fullmatch(r"[0-9a-f]{64}", releases.archive_of(product.release).sha256)
