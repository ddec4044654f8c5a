"""Fixtures of the set-up tests: pips, an index, and a project."""

import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.package_index import Wheel, make_wheel, serve
from support.pips import NEWEST_PIP, OLDEST_PIP, fetch_pip
from support.project_to_set_up import Project
from uv import find_uv_bin


@pytest.fixture(scope="session")
def wheel_of_uv() -> Wheel:
    """The installed uv, packed as a wheel for an index."""
    installed = distribution("uv")
    program = f"uv-{installed.version}.data/scripts/uv"
    return make_wheel("uv", installed.version, files={program: Path(find_uv_bin()).read_bytes()})


@pytest.fixture
def project(tmp_path: Path, wheel_of_uv: Wheel) -> Project:
    """A project that was never set up."""
    return Project(tmp_path / "project", wheel_of_uv)


@pytest.fixture
def index(project: Project) -> Iterator[str]:
    """The address of an index that offers the pinned versions and newer ones."""
    with serve(project.wheels) as address:
        yield address


@pytest.fixture(scope="session", params=["oldest", "newest"])
def pip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest pip that this Python came with, and the newest one."""
    oldest = OLDEST_PIP.get(sys.version_info[:2], NEWEST_PIP)
    return fetch_pip(tmp_path_factory.mktemp("pip"), *(oldest if request.param == "oldest" else NEWEST_PIP))
