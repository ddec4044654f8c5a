"""`python -m requirements.pythons`: runs the library's tests on each newer Python of this machine.

Pythons are found on PATH or in pyenv; a missing one is reported and skipped. Each gets the pins of
requirements/dev.txt, in an environment of its own below `.pythons/`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from requirements.environments import fill, run_pip
from requirements.install import PINS, ROOT

VERSIONS = ("3.12", "3.13", "3.14")
ENVIRONMENTS = ROOT / ".pythons"
LIBRARY = sorted(
    f"tests/{path.name}"
    for path in (*ROOT.glob("telemetry/*/"), *ROOT.glob("tests/test_*.py"))
    if (ROOT / "tests" / path.name).exists()
)
"""The tests of the library's packages, and the modules beside them."""


def main() -> int:
    """Runs the tests on one Python after another; fails if any of them fails."""
    failed = []
    for version in VERSIONS:
        python = find(version)
        if python is None:
            print(f"SKIPPED Python {version}: neither on PATH nor among pyenv's")
            continue
        print(f"Python {version}: {python}", flush=True)
        if not passes(version, python):
            failed.append(version)
    print(f"failed: {', '.join(failed)}" if failed else "no Python that was found failed")
    return 1 if failed else 0


def find(version: str) -> Path | None:
    """Returns a Python of this version that runs: a shim of pyenv may not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    candidates = [*([Path(on_path)] if on_path else []), *pyenv.glob(f"versions/{version}.*/bin/python")]
    for candidate in candidates:
        if subprocess.run((candidate, "-c", ""), capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def passes(version: str, python: Path) -> bool:
    """Returns whether the tests pass with this Python."""
    interpreter = fill(ENVIRONMENTS / version, PINS, python)
    run_pip(interpreter, "install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    tests = ("-q", "-n", "4", "--dist", "worksteal", "-m", "not stack and not compose and not soak", *LIBRARY)
    return subprocess.run((interpreter, "-m", "pytest", *tests), cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
