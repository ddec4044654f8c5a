"""The wheel ships only the typed library; everything is built from requirements with hashes."""

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from telemetry.client import TelemetryClient

ROOT = Path(__file__).parents[1]


def test_wheel_ships_the_library_alone(tmp_path: Path) -> None:
    """The wheel has the type marker and the launcher's entry points, but neither the demo nor the stack."""
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
    """Installed packages are fixed, whichever index they come from."""
    text = (ROOT / "requirements" / name).read_text()
    pinned = re.findall(r"^[\w.-]+(?:\[[^]]+\])?==\S+.*\\\n(    --hash=sha256:\w+)", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[\w.-]+.*==", text, re.MULTILINE)) > 0
    assert "://" not in text


def test_requirements_of_the_library_are_in_the_services_lock_file() -> None:
    """The services run with every requirement in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    locked = (ROOT / "requirements" / "service.txt").read_text()
    for requirement in (*project["dependencies"], *extras):
        name = re.split(r"[<>=]", requirement)[0]
        assert f"\n{name}==" in f"\n{locked}", requirement


def test_every_module_of_the_library_has_its_place_in_the_house() -> None:
    """A module that is in no layer of the import rules could import anything."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {module.strip() for layer in layers for module in layer.split("|")}
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "telemetry").rglob("*.py")
    }
    rooms = {"telemetry", "telemetry.export"}
    for module in modules - rooms:
        assert any(f"{module}.".startswith(f"{each}.") for each in placed), module


def test_public_names_are_these() -> None:
    """These names are stable from one release to the next."""
    assert {
        module: public_names(module)
        for module in ("telemetry", "client", "config", "decorators", "health_check", "errors")
    } == {
        "telemetry": {"setup_telemetry"},
        "client": {"TelemetryClient"},
        "config": {"TelemetryConfig"},
        "decorators": {"measure_performance", "trace_function", "track_errors"},
        "health_check": {
            *("BatchHealth", "BreakerHealth", "CheckResult", "ExporterHealth", "LedgerHealth", "QueueHealth"),
            *("ResourceHealth", "ServiceHealth", "SpoolHealth", "TelemetryHealth"),
            "check_telemetry_health",
            "check_telemetry_health_async",
            "register_health_check",
            "unregister_health_check",
        },
        "errors": {"ConfigurationError", "TelemetryError"},
    }
    assert {name for name in vars(TelemetryClient) if not name.startswith("_")} == {
        *("collect_metrics", "configure", "force_flush", "health", "instance_id", "metrics", "pipeline"),
        *(
            "push",
            "registry",
            "sampling_ratio",
            "shutdown",
            "start",
            "start_serving",
            "start_span",
            "tracer_provider",
        ),
    }


def public_names(module: str) -> set[str]:
    """Returns the names that a library module defines or lists in `__all__`."""
    name = f"telemetry.{module}"
    loaded = vars(importlib.import_module(name))
    own = {each for each, value in loaded.items() if getattr(value, "__module__", "") == name}
    return {each for each in loaded.get("__all__", own) if not each.startswith("_")}
