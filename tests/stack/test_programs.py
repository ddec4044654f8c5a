"""Building the programs: cache, interruption, a second build, and messages; with a stand-in for Go itself."""

import io
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from rich.console import Console

from stack.errors import StackError
from stack.native import go_build
from stack.native.cache import cache_folder
from stack.native.go_build import find_go
from stack.native.products import modules_of
from stack.native.programs import ensure_programs
from stack.settings import ROOT, StackSettings, load_settings

GO = """\
#!{python}
# Stands in for the Go compiler: writes what `go build -o` names, and notes that it was called.
import os, sys, time
from pathlib import Path
if sys.argv[1:] == ["env", "GOVERSION"]:
    print(os.environ.get("STAND_IN_GO_VERSION", "go1.26.8"))
    sys.exit()
if sys.argv[1] == "list":
    print("one/package", "another", sep="\\n")
    sys.exit()
calls = Path(os.environ["STAND_IN_GO_CALLS"])
calls.write_text(calls.read_text() + " ".join(sys.argv[1:]) + "\\n")
if os.environ.get("STAND_IN_GO_FAILS"):
    print("main.go:1: undefined: everything")
    sys.exit(1)
if os.environ.get("STAND_IN_GO_COMPILES"):
    import subprocess
    compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    calls.with_name("compilers").write_text(str(compiler.pid))
    compiler.wait()
out = sys.argv[sys.argv.index("-o") + 1]
files = [out] if not out.endswith("/") else [out + name for name in ("jaeger", "prometheus", "promtool")]
for file in files:
    Path(file).write_text("built")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, a stand-in Go first in PATH, and the file of its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    go = folder / "go"
    go.write_text(GO.format(python=sys.executable))
    go.chmod(go.stat().st_mode | stat.S_IXUSR)
    noted = tmp_path / "calls"
    noted.write_text("")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STAND_IN_GO_CALLS", str(noted))
    return noted


@pytest.fixture
def quiet() -> Console:
    """A console that nobody sees."""
    return Console(file=io.StringIO(), width=200)


def build_calls(noted: Path) -> list[str]:
    """Returns the builds that were requested."""
    return noted.read_text().splitlines()


def test_builds_once_and_finds_afterwards(calls: Path, quiet: Console) -> None:
    """The second call needs no compiler."""
    first = ensure_programs(load_settings(), quiet).paths
    assert set(first) == {"otelcol-contrib", "jaeger", "prometheus", "promtool", "toxiproxy-server"}
    assert all(path.read_text() == "built" for path in first.values())
    assert len(build_calls(calls)) == 4
    assert ensure_programs(load_settings(), quiet).paths == first
    assert len(build_calls(calls)) == 4


def test_entry_that_lacks_a_program_is_built_again(calls: Path, quiet: Console) -> None:
    """An incomplete cache must not cause failures later."""
    ensure_programs(load_settings(), quiet).paths["promtool"].unlink()
    assert ensure_programs(load_settings(), quiet).paths["promtool"].exists()
    assert len(build_calls(calls)) == 5


def test_failed_build_says_why_and_leaves_nothing_behind(
    calls: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's last lines are in the message, and the next try builds again."""
    monkeypatch.setenv("STAND_IN_GO_FAILS", "1")
    with pytest.raises(StackError, match="undefined: everything"):
        ensure_programs(load_settings(), quiet)
    assert not [path for path in cache_folder().iterdir() if path.is_dir()]
    monkeypatch.delenv("STAND_IN_GO_FAILS")
    assert ensure_programs(load_settings(), quiet).paths["jaeger"].exists()


def test_interrupted_build_is_cleared_away_and_done_again(calls: Path, quiet: Console) -> None:
    """What a killed build left is never taken for a program."""
    collector = modules_of(load_settings())[0]
    left_over = cache_folder() / f".{collector.entry.name}-half"
    left_over.mkdir(parents=True)
    (left_over / "otelcol-contrib").write_text("half")
    assert ensure_programs(load_settings(), quiet).paths["otelcol-contrib"].read_text() == "built"
    assert not left_over.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_leaves_no_compiler_and_nothing_half_made(
    number: signal.Signals, calls: Path, quiet: Console, until: Callable[..., None]
) -> None:
    """It is interrupted three times, and then succeeds."""
    compilers = calls.with_name("compilers")
    for _ in range(3):
        compilers.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "stack", "build"],
            cwd=ROOT,
            env={**os.environ, "STAND_IN_GO_COMPILES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until("a compiler", lambda: compilers.exists() and compilers.read_text(), seconds=30)
        compiler = int(compilers.read_text())
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        until("the compiler's end", lambda compiler=compiler: not psutil.pid_exists(compiler))
        assert not [path for path in cache_folder().iterdir() if path.is_dir()]
    assert ensure_programs(load_settings(), quiet).paths["jaeger"].read_text() == "built"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_make_leaves_no_process(
    number: signal.Signals, calls: Path, settings: StackSettings, until: Callable[..., None]
) -> None:
    """SIGTERM goes to make alone, as from a process manager; Ctrl-C to the group, as in a terminal."""
    ports = {name: value for name, value in settings.variables().items() if name.endswith("_PORT")}
    run = {"RUNTIME": "native", "STACK_RUN_DIR": str(settings.stack_run_dir), "STAND_IN_GO_COMPILES": "1"}
    make = ["make", "up"]
    process = subprocess.Popen(
        make,
        cwd=ROOT,
        env={**os.environ, **ports, **run},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    compilers = calls.with_name("compilers")
    until("a compiler", lambda: compilers.exists() and compilers.read_text(), seconds=60)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert int(compilers.read_text()) in {each.pid for each in family}
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0, said
    until("the end of all", lambda: not any(map(psutil.Process.is_running, family)))
    assert not settings.stack_run_dir.exists()


def test_second_build_waits_for_the_first_and_builds_nothing(calls: Path, quiet: Console) -> None:
    """Two `make up` at once build once."""
    cache_folder().mkdir(parents=True)
    lock = FileLock(cache_folder() / "build.lock", thread_local=False)
    lock.acquire()
    second = threading.Thread(target=ensure_programs, args=(load_settings(), quiet))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    assert not build_calls(calls)
    for module in modules_of(load_settings()):
        for name in module.binaries:
            module.entry.mkdir(exist_ok=True)
            (module.entry / name).touch()
    lock.release()
    second.join(10)
    assert not second.is_alive()
    assert not build_calls(calls)


def test_old_go_on_path_is_not_taken(calls: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go 1.25 cannot build the modules, so the wheel's Go is used instead."""
    monkeypatch.setenv("STAND_IN_GO_VERSION", "go1.25.9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(go_build, "_GO_REQUIREMENTS", ROOT / "requirements" / "no-such-file.txt")
        with pytest.raises(FileNotFoundError):
            find_go(quiet)
    monkeypatch.setenv("STAND_IN_GO_VERSION", "go1.27.0")
    assert find_go(quiet).parent == calls.parent / "bin"


def test_version_of_env_file_must_be_the_modules(calls: Path, quiet: Console) -> None:
    """A version changed in one place only is found before anything is built."""
    for version in ("0.1.0", "0.15"):
        settings: StackSettings = load_settings(collector_version=version)
        with pytest.raises(StackError, match=rf"collector {version}.*go.mod"):
            ensure_programs(settings, quiet)
    assert not build_calls(calls)


def test_cache_entry_depends_on_the_modules_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set of components is another program."""
    collector = modules_of(load_settings())[0]
    before = collector.entry
    copy = tmp_path / "modules"
    subprocess.run(["cp", "-r", str(go_build.MODULES), str(copy)], check=True)  # noqa: S607 - cp of any path
    monkeypatch.setattr(go_build, "MODULES", copy)
    assert collector.entry == before
    (copy / "collector" / "components.go").write_text("package main")
    assert collector.entry != before
