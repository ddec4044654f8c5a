"""`python3 -m requirements.install` takes only the package sources from the shell."""

from pathlib import Path

import pytest
from support.package_index import Wheel, newer_than, serve
from support.pips import NEWEST_PIP
from support.project_to_set_up import EXPECTED, PINNED, Project, make_python


@pytest.mark.parametrize("places", ["indexes", "folders"])
def test_all_places_that_pip_knows_are_searched(
    places: str, project: Project, wheel_of_uv: Wheel, tmp_path: Path
) -> None:
    """All indexes are searched, though the first has only other versions; or folders, without an index."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    config = tmp_path / "pip.conf"
    if places == "folders":
        folders = [tmp_path / "wheels-1", tmp_path / "wheels-2"]
        for position, wheel in enumerate(project.wheels):
            folders[position % 2].mkdir(exist_ok=True)
            (folders[position % 2] / wheel.file_name).write_bytes(wheel.content)
        lines = "".join(f"    {folder}\n" for folder in folders)
        config.write_text(f"[global]\nno-index = true\nfind-links =\n{lines}")
        status, said = project.set_up(python, "", PIP_CONFIG_FILE=str(config))
    else:
        newer = [wheel for wheel in project.wheels if wheel.version not in PINNED.values()]
        first, *others = [wheel for wheel in project.wheels if wheel.version in PINNED.values()]
        with (
            serve([*newer, wheel_of_uv]) as main,
            serve([newer_than(first), first]) as one,
            serve(others) as another,
        ):
            config.write_text(
                f"[global]\nindex-url = {main}\nextra-index-url =\n    {one}\n    {another}\n"
                "trusted-host =\n    127.0.0.1\n    localhost\n"
            )
            status, said = project.set_up(python, "", PIP_CONFIG_FILE=str(config))
    assert status == 0, said
    assert project.installed() == EXPECTED


def test_variables_of_other_projects_change_nothing(project: Project, index: str, tmp_path: Path) -> None:
    """Pip's and uv's settings in the shell are ignored, except for the package sources."""
    python = make_python(tmp_path / "python", pip=NEWEST_PIP)
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("first==0.1\n")
    elsewhere = str(tmp_path / "elsewhere")
    status, said = project.set_up(
        python,
        index,
        PIP_USER="1",
        PIP_REQUIRE_VIRTUALENV="1",
        PIP_TARGET=elsewhere,
        PIP_PREFIX=elsewhere,
        PIP_CONSTRAINT=str(constraint),
        PIP_NO_BINARY=":all:",
        UV_CONSTRAINT=str(constraint),
        UV_OVERRIDE=str(constraint),
        UV_TARGET=elsewhere,
        UV_NO_BINARY="1",
        UV_EXCLUDE_NEWER="2001-01-01",
        UV_SYSTEM_PYTHON="1",
        UV_DRY_RUN="1",
        UV_PROJECT="/nowhere",
        UV_WORKING_DIR="/nowhere",
        VIRTUAL_ENV=elsewhere,
        PYTHONPATH=elsewhere,
    )
    assert status == 0, said
    assert project.installed() == EXPECTED
    assert not Path(elsewhere).exists()
