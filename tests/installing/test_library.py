"""The library's version ranges, resolved by old and new pips while an OpenTelemetry release is half out."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.package_index import Wheel, make_wheel, pinned, serve, stand_in

ROOT = Path(__file__).parents[2]
LATE = "opentelemetry-instrumentation-sqlalchemy"
"""The one package not released yet; each of the others requires the same beta of the rest."""


def project() -> Wheel:
    """Returns the library as an empty wheel with its real requirements."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = described["optional-dependencies"]
    metadata = [f"Requires-Dist: {each}" for each in described["dependencies"]]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [
        f"Requires-Dist: {each}; extra == '{extra}'" for extra, names in extras.items() for each in names
    ]
    return make_wheel(described["name"], described["version"], metadata)


def next_release(name: str, betas: str, version: str) -> Wheel:
    """Returns the package with the next beta in its version and its requirements."""
    beta = f"{betas[:-1]}{int(betas[-1]) + 1}"
    asked = (value for key, value in distribution(name).metadata.items() if key == "Requires-Dist")
    metadata = [f"Requires-Dist: {value.replace(f'=={betas}', f'=={beta}')}" for value in asked]
    return make_wheel(name, version.replace(betas, beta), metadata)


@pytest.mark.timeout(300)
def test_a_set_of_versions_that_agree_is_found(pip: Path, tmp_path: Path) -> None:
    """All packages stay at the previous beta, though nearly all are newer on the index."""
    versions = pinned((ROOT / "requirements" / "service.txt").read_text())
    betas = versions["opentelemetry-instrumentation"]
    following = [name for name, version in versions.items() if version == betas and name != LATE]
    wheels = [
        project(),
        *(stand_in(name, version) for name, version in versions.items()),
        *(next_release(name, betas, versions[name]) for name in following),
    ]
    report = tmp_path / "report.json"
    with serve(wheels) as index:
        options = ["--dry-run", "--ignore-installed", "--report", report, "--index-url", index]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"),
                *("install", *options, "fastapi-telemetry-stack[httpx,sqlalchemy]"),
            ],
            env={**os.environ, "PYTHONPATH": str(pip)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    chosen = {
        each["metadata"]["name"]: each["metadata"]["version"]
        for each in json.loads(report.read_text())["install"]
    }
    bound_to_the_late_one = {name for name in following if "instrumentation" in name} | {LATE}
    assert {chosen[name] for name in bound_to_the_late_one if name in chosen} == {betas}
