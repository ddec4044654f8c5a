"""The requirements files install exactly what they pin, though every package has a newer release.

`make` and the images install them with uv, and uv.txt with any pip. All but dev.txt must work with pip too:
a pip of 2022 does not accept `socketio[a,b]==5` as a pin of the `socketio[a]` that a package requires.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.package_index import newer_than, pinned, serve, stand_in, with_hashes_of
from support.pips import OLDEST_PIP, fetch_pip
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
FOR_PIP = ["service.txt", "loadtest.txt", "go.txt", "uv.txt"]


@dataclass(frozen=True)
class Offer:
    """A file of pins and the index that it is installed from."""

    index: str
    pins: Path
    versions: dict[str, str]
    """The pinned versions by name."""


@pytest.fixture
def offer(tmp_path: Path) -> Iterator[Callable[..., Offer]]:
    """Makes an index with stand-ins for what a file pins, and a newer release of each."""
    with_index = []

    def make(name: str, change: Callable[[str], str] = lambda text: text) -> Offer:
        text = (ROOT / "requirements" / name).read_text()
        versions = pinned(text)
        wheels = [stand_in(each, version) for each, version in versions.items()]
        server = serve([*wheels, *map(newer_than, wheels)])
        with_index.append(server)
        pins = tmp_path / name
        pins.write_text(change(with_hashes_of(text, wheels)))
        return Offer(server.__enter__(), pins, versions)

    yield make
    for server in with_index:
        server.__exit__(None, None, None)


def ask_pip(pip: Path, offer: Offer) -> subprocess.CompletedProcess[str]:
    """Runs pip's dry run on these pins; its report is written beside them."""
    report = offer.pins.with_suffix(".json")
    options = [
        "--require-hashes",
        "--dry-run",
        "--ignore-installed",
        "--only-binary",
        ":all:",
        "--report",
        report,
    ]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"),
            *("install", *options, "--index-url", offer.index, "--requirement", offer.pins),
        ],
        env={**os.environ, "PYTHONPATH": str(pip)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FOR_PIP)
def test_pip_installs_exactly_what_is_pinned(name: str, offer: Callable[..., Offer], pip: Path) -> None:
    """This holds for the oldest and the newest pip."""
    offered = offer(name)
    done = ask_pip(pip, offered)
    assert done.returncode == 0, done.stderr
    report = json.loads(offered.pins.with_suffix(".json").read_text())
    chosen = {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in report["install"]}
    assert chosen == offered.versions


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pips of later Pythons are new enough")
def test_pins_without_their_extras_are_not_enough_for_an_old_pip(
    offer: Callable[..., Offer], tmp_path: Path
) -> None:
    """The test above would fail on `socketio==5` where a package requires `socketio[client]`."""
    offered = offer("loadtest.txt", lambda text: re.sub(r"\[[^\]]*\]==", "==", text))
    done = ask_pip(fetch_pip(tmp_path, *OLDEST_PIP[3, 11]), offered)
    assert done.returncode != 0
    assert "all requirements must have their versions pinned" in done.stderr


def sync(offered: Offer, environment: Path) -> Callable[..., str]:
    """Installs as `make` and the images do; returns a function that runs `uv pip` on the result."""
    alone = ["--no-config", "--quiet", "--cache-dir", environment.with_name("cache")]
    into = ["--python", environment / "bin" / "python"]
    subprocess.run([find_uv_bin(), "venv", *alone, "--python", sys.executable, environment], check=True)
    pins = ["--require-hashes", "--default-index", offered.index, offered.pins]
    subprocess.run([find_uv_bin(), "pip", "sync", *alone, *into, *pins], check=True)

    def ask(*words: str) -> str:
        command = [find_uv_bin(), "pip", *words, *into]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return ask


@pytest.mark.parametrize("name", ["dev.txt", *FOR_PIP])
def test_uv_installs_exactly_what_is_pinned(name: str, offer: Callable[..., Offer], tmp_path: Path) -> None:
    """Nothing newer is installed, and no requirement of the packages is missing."""
    offered = offer(name)
    ask = sync(offered, tmp_path / "environment")
    listed = json.loads(ask("list", "--format", "json"))
    assert {each["name"]: each["version"] for each in listed} == offered.versions
    ask("check")


def test_pins_without_one_of_them_are_found_out(offer: Callable[..., Offer], tmp_path: Path) -> None:
    """The test above relies on `uv pip check` to find a missing requirement."""
    offered = offer("service.txt", lambda text: re.sub(r"(?m)^annotated-types==.*\n", "", text))
    ask = sync(offered, tmp_path / "environment")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        ask("check")
    assert "annotated-types" in caught.value.stderr
