"""`python -m mutation`: changes the code in one small place at a time, and sees whether a test fails.

A sample of all possible mutants is tried, in an order that the seed determines, so a run that is stopped has
tried a random part. Mutants are made in a copy of the project, never in the project itself. While the code is
unchanged, a later run retries only those that were neither killed nor accepted: there may be new tests.
`make clean` forgets all results.
"""

import argparse
import hashlib
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.plugins import OPERATOR_PROVIDERS
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkItem, WorkResult

from mutation.report import Mutant, Report
from mutation.statement_deletion import StatementDeletion

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / ".mutants"
_COPIED = ("telemetry", "tests", "pyproject.toml")
_COSMIC_RAY_ON_TIMEOUT = "timeout"
"""What it returns as the tests' output after their time is over; it counts such a mutant as killed."""

Settings = Mapping[str, Any]


def main() -> int:
    """Tries the sample and writes the report; returns 1 if too many mutants live or not all were tried."""
    parser = argparse.ArgumentParser(prog="python -m mutation")
    parser.add_argument("--quick", action="store_true", help="a small sample")
    is_quick = parser.parse_args().quick
    settings = tomllib.loads((ROOT / "mutation/settings.toml").read_text())
    accepted = tomllib.loads((ROOT / "mutation/survivors.toml").read_text()).get("survivor", [])
    size = settings["quick_sample" if is_quick else "sample"]
    OPERATOR_PROVIDERS["project"] = {"StatementDeletion": StatementDeletion}
    memory = settings["most_memory_gib"] * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    _copy_project()
    report = Report(accepted, size, settings["least_killed_percent"])
    is_stopped = _stop_on_signals()
    with use_db(_session()) as session:
        results = dict(session.results)
        for number, (item, module) in enumerate(_sample(session, settings, size), 1):
            result = results.get(item.job_id)
            mutant = None if result is None else _mutant(module, _of(item), result)
            if mutant is None or not report.is_settled(mutant):
                if is_stopped.is_set():
                    break
                command = _command(settings["modules"][module]["tests"], settings)
                result = mutate_and_test(item.mutations, command, settings["seconds_for_a_mutant"])
                session.set_result(item.job_id, result)
                mutant = _mutant(module, _of(item), result)
            report.add(mutant)
            print(f"{number:4}/{size} {mutant.summary}", flush=True)
    report.write(ROOT / "mutation", "result-quick" if is_quick else "result")
    return 0 if report.is_good else 1


def _copy_project() -> None:
    """Makes the copy that is mutated, anew each time: a killed run may have left a mutant in it."""
    COPY.mkdir(exist_ok=True)
    os.chdir(COPY)
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.rmtree(name, ignore_errors=True)
            shutil.copytree(ROOT / name, name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, name)


def _session() -> Path:
    """Returns the file with the results for exactly this code."""
    contents = hashlib.sha256()
    for path in sorted(Path("telemetry").rglob("*.py")):
        contents.update(path.read_bytes())
    return Path(f"{contents.hexdigest()[:16]}.sqlite")


def _sample(session: WorkDB, settings: Settings, size: int) -> Iterator[tuple[WorkItem, str]]:
    """Yields the mutants to try, each with the name of its module, after a look at the unchanged code."""
    module_of = {
        path: name
        for name, module in settings["modules"].items()
        for given in map(Path, module["paths"])
        for path in (sorted(given.rglob("*.py")) or [given])
    }
    _see_that_tests_pass(settings)
    if not session.num_work_items:
        init(module_of, session, {})
    every = sorted(
        (item for item in session.work_items if _of(item).operator_name in settings["operators"]),
        key=lambda item: (str(_of(item).module_path), _of(item).operator_name, _of(item).occurrence),
    )
    print(f"{size} of {len(every)} mutants, seed {settings['seed']}", flush=True)
    # The quick sample is the beginning of the whole one.
    order = random.Random(settings["seed"]).sample(every, len(every))  # noqa: S311 - no secret
    for item in order[:size]:
        yield item, module_of[_of(item).module_path]


def _see_that_tests_pass(settings: Settings) -> None:
    """Runs the tests on the unchanged code.

    Raises:
        SystemExit: one failed: then every mutant would seem to be killed.
    """
    print("the tests on the unchanged code, a few minutes", flush=True)
    tests = {test for module in settings["modules"].values() for test in module["tests"]}
    outcome, output = run_tests(_command(sorted(tests), settings), 10 * settings["seconds_for_a_mutant"])
    if outcome is not TestOutcome.SURVIVED:
        raise SystemExit(f"the tests do not pass without a mutant:\n{output}")


def _mutant(module: str, spec: MutationSpec, result: WorkResult) -> Mutant:
    """Returns a mutant's outcome.

    Raises:
        SystemExit: Cosmic Ray could not make the mutant or start the tests.
    """
    if result.test_outcome not in {TestOutcome.KILLED, TestOutcome.SURVIVED}:
        raise SystemExit(f"Cosmic Ray failed on {spec}:\n{result.output}")
    is_timed_out = result.output == _COSMIC_RAY_ON_TIMEOUT
    return Mutant(
        module,
        str(spec.module_path),
        spec.start_pos[0],
        spec.definition_name or "",
        "timed out" if is_timed_out else result.test_outcome.value,
        result.diff or "",
        result.output or "",
    )


def _stop_on_signals() -> threading.Event:
    """Returns what the first Ctrl-C or SIGTERM sets; the second Ctrl-C ends the process at once."""
    is_stopped = threading.Event()

    def stop(*_: object) -> None:
        print("stopping after this mutant; the same command goes on from there", file=sys.stderr)
        is_stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return is_stopped


def _of(item: WorkItem) -> MutationSpec:
    return item.mutations[0]


def _command(tests: list[str], settings: Settings) -> str:
    """Returns the command that runs these tests in the copy, the same way each time."""
    options = (
        *("-q", "--exitfirst", "-p", "no:cacheprovider", "-m", "not stack and not compose and not soak"),
        *(f"--timeout={settings['seconds_for_a_test']}", "--hypothesis-seed=0"),
    )
    return shlex.join((sys.executable, "-m", "pytest", *options, *tests))


if __name__ == "__main__":
    sys.exit(main())
