"""What is shipped: the library alone, typed; and what it is built from, fixed by hashes."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_wheel_ships_the_library_alone(tmp_path: Path) -> None:
    """Neither the demo nor the stack comes along; the type marker and the launcher's entry points do."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in files if ".dist-info" not in name} == {"telemetry"}
    assert "telemetry/py.typed" in files
    assert any(name.endswith("entry_points.txt") for name in files)
    assert any(name.endswith("LICENSE") for name in files)


@pytest.mark.parametrize("name", ["dev.txt", "service.txt", "go.txt"])
def test_lock_file_has_a_hash_for_each_requirement_and_no_address(name: str) -> None:
    """What is installed is fixed, wherever it is fetched from."""
    text = (ROOT / "requirements" / name).read_text()
    pinned = re.findall(r"^[\w.-]+(?:\[[^]]+\])?==\S+.*\\\n(    --hash=sha256:\w+)", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[\w.-]+.*==", text, re.MULTILINE)) > 0
    assert "://" not in text


def test_requirements_of_the_library_are_in_the_services_lock_file() -> None:
    """What pyproject.toml asks for is what the services run with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    locked = (ROOT / "requirements" / "service.txt").read_text()
    for requirement in (*project["dependencies"], *extras):
        name = re.split(r"[<>=]", requirement)[0]
        assert f"\n{name}==" in f"\n{locked}", requirement
