"""`python3 -m requirements.install` makes `.venv`: the pins of requirements/dev.txt, and this project itself.

uv does the work, so nothing depends on the pip that this Python came with, or on later releases. uv is taken
from PATH; otherwise any available pip fetches the one wheel that requirements/uv.txt pins. After an
interruption, the next run resumes: finished downloads are in uv's cache. Only one runs at a time; the next
one waits, and finds everything done.

It runs before anything is installed, so it only uses the standard library.
"""

import ast
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

OLDEST_UV = (0, 5)
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
READY = ENVIRONMENT / ".ready"
"""Written last, so that an interrupted setup is repeated."""
UV_FOLDER = ROOT / ".uv"
PINS = ROOT / "requirements" / "dev.txt"
PIN_OF_UV = ROOT / "requirements" / "uv.txt"
_SOURCES = (PINS, ROOT / "pyproject.toml")

_SAID_TO_PIP = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "proxy": ("ALL_PROXY", " "),
    "cert": ("SSL_CERT_FILE", " "),
}
"""pip's settings for package sources: the corresponding variable of uv, and the separator of its values."""
_WAYS_TO_PACKAGES = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX|EXTRA_INDEX_URL|FIND_LINKS|INSECURE_HOST|KEYRING|NATIVE_TLS|SYSTEM_CERTS|OFFLINE"
    r"|HTTP|REQUEST|CONCURRENT|CACHE_DIR|NO_CACHE|LINK_MODE|CONFIG_FILE)"
    r"|PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|PROXY|CERT|CLIENT_CERT|KEYRING"
    r"|TIMEOUT|DEFAULT_TIMEOUT|RETRIES|CACHE_DIR|NO_CACHE_DIR|CONFIG_FILE)"
)
"""Variables of uv and pip that say where packages come from. All others belong to the shell's other projects,
and would change what is installed, or where."""
_OF_OTHER_PROJECTS = frozenset({"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"})


class CannotInstallError(Exception):
    """The setup is impossible; the message says what is missing, and what to do about it."""


def main() -> int:
    """Installs what is not installed yet; prints a readable message if it cannot."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end)
    try:
        with (ROOT / ".venv.lock").open("w") as lock:
            _wait_for(lock)
            os.set_inheritable(lock.fileno(), True)  # children hold the lock too, if this is killed
            if _is_ready():
                READY.touch()  # make may have run this for a change that needs no setup
            else:
                install(find_uv())
    except CannotInstallError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        program = Path(error.cmd[0]).name
        print(f"{program} failed; see its output above. The same command resumes from here", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command resumes where it stopped", file=sys.stderr)
        return 130
    return 0


def install(uv: Path) -> None:
    """Makes `.venv` hold exactly the pins, in place, because a running stack keeps using it.

    Raises:
        subprocess.CalledProcessError: uv failed; it has printed the reason.
    """
    started, noted_at = time.monotonic(), time.time()
    print(f"setting up .venv from {PINS.relative_to(ROOT)} with {uv}", flush=True)
    # In place if it was complete; from scratch after an interrupted setup, which may have left files missing.
    if not (_was_finished_here() and _is_of_this_python()):
        # In an activated `.venv`, this Python is removed with it; the one that it was made from stays.
        base = os.path.realpath(sys.executable) if Path(sys.prefix) == ENVIRONMENT else sys.executable
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _run(uv, "venv", "--quiet", "--python", base, ENVIRONMENT)
    READY.unlink(missing_ok=True)
    # A terminal gets uv's progress bars; elsewhere it is quiet.
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    _run(uv, "pip", "sync", *quiet, *ways_to_packages(), "--python", PYTHON, "--require-hashes", PINS)
    here = ("--no-deps", "--no-build-isolation", "--editable", ROOT)
    _run(uv, "pip", "install", "--quiet", "--python", PYTHON, *here)
    READY.write_text(str(ROOT))
    os.utime(READY, (noted_at, noted_at))  # pins that were changed meanwhile are newer
    print(f"set up in {time.monotonic() - started:.0f} s", flush=True)


def find_uv() -> Path:
    """Returns a uv that is new enough; fetches one if there is none.

    Raises:
        CannotInstallError: it cannot be fetched.
    """
    on_path = shutil.which("uv")
    # A uv in `.venv` would be removed with it.
    is_own = on_path is not None and Path(on_path).is_relative_to(ENVIRONMENT)
    if on_path is not None and not is_own and _version_of(on_path) >= OLDEST_UV:
        return Path(on_path)
    folder = UV_FOLDER / hashlib.sha256(PIN_OF_UV.read_bytes()).hexdigest()[:12]
    if not _version_of(folder / "bin" / "uv"):
        print("uv is not on PATH: fetching its wheel", flush=True)
        _fetch_uv(folder)
    return folder / "bin" / "uv"


def _fetch_uv(folder: Path) -> None:
    shutil.rmtree(UV_FOLDER, ignore_errors=True)  # another version, or the remains of an interrupted setup
    unfinished = UV_FOLDER / "unfinished"
    unfinished.mkdir(parents=True)
    whole = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", PIN_OF_UV)
    try:
        _run(*_find_pip(), "install", "--target", unfinished, *whole)
    except subprocess.CalledProcessError:
        raise CannotInstallError(
            "uv could not be fetched; pip's words are above. Mend the network or pip's settings, or install "
            "uv yourself and put it on PATH; then run the same command again."
        ) from None
    unfinished.rename(folder)


def _find_pip() -> tuple[str | Path, ...]:
    """Returns the command of this Python's own pip, or else of the one that its venv module installs."""
    own: tuple[str | Path, ...] = (sys.executable, "-m", "pip")
    if _answer_of(*own, "--version"):
        return own
    brought = UV_FOLDER / "pip" / "bin" / "python", "-m", "pip"
    _answer_of(sys.executable, "-m", "venv", UV_FOLDER / "pip")
    if _answer_of(*brought, "--version"):
        return brought
    raise CannotInstallError(
        f"There is no uv on PATH, and {sys.executable} has neither pip nor ensurepip to fetch it with. "
        "Install uv, or pip for this Python (Debian and Ubuntu: apt install python3-venv; Fedora: "
        "dnf install python3-pip; Alpine: apk add py3-pip); then run the same command again."
    )


def _wait_for(lock: IO[str]) -> None:
    """Acquires the lock and holds it until this process ends, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("another set-up of .venv is under way: waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_ready() -> bool:
    return (
        _was_finished_here()
        and all(READY.stat().st_mtime >= each.stat().st_mtime for each in _SOURCES)
        and _is_of_this_python()
    )


def _was_finished_here() -> bool:
    """Returns whether a setup was completed and the folder, which its scripts name, was not moved since."""
    return READY.exists() and READY.read_text() == str(ROOT)


def _is_of_this_python() -> bool:
    """Returns whether `.venv` runs and has the version of the Python that runs this."""
    return _answer_of(PYTHON, "-c", "import sys; print(sys.version_info[:2])").strip() == str(
        sys.version_info[:2]
    )


def _version_of(uv: str | Path) -> tuple[int, ...]:
    found = re.match(r"uv (\d+)\.(\d+)", _answer_of(uv, "--version"))
    return tuple(map(int, found.groups())) if found else ()


def _answer_of(*command: str | Path) -> str:
    """Returns the output of a command; empty if it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def ways_to_packages() -> tuple[str, ...]:
    """Returns the index options of `uv pip sync` and `uv pip install`, for files of pins with hashes.

    The hashes identify what is installed, so every index may be asked for it.
    """
    no_index = _setting_of_pip("no-index") in (["1"], ["true"], ["yes"], ["on"])
    return ("--index-strategy", "unsafe-best-match", *(("--no-index",) if no_index else ()))


def environment_of_uv() -> dict[str, str]:
    """Returns the environment for uv: pip's package sources as uv's variables, no unrelated uv settings."""
    said_to_pip = {
        variable: between.join(values)
        for name, (variable, between) in _SAID_TO_PIP.items()
        if (values := _setting_of_pip(name))
    }
    return {**said_to_pip, **_environment()}


def _run(*command: str | Path) -> None:
    """Runs a command to its end, with its output on the terminal; ends it if this process is ended."""
    if Path(command[0]).name == "uv":
        environment = environment_of_uv()
    else:
        environment = _environment()
        environment |= {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        environment |= {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"}  # it has its own target folder
    subprocess.run(command, env=environment, cwd=ROOT, check=True, close_fds=False)


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_OTHER_PROJECTS
        and (not name.startswith(("UV_", "PIP_")) or _WAYS_TO_PACKAGES.match(name))
    }


def _setting_of_pip(name: str) -> list[str]:
    """Returns a setting's values: from pip's variable, which needs no pip, or else from its files."""
    of_variable = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    return (of_variable or _files_of_pip().get(name, "")).split()


@cache
def _files_of_pip() -> dict[str, str]:
    answer = _answer_of(sys.executable, "-m", "pip", "config", "list")
    found = re.findall(r"^(?:global|install)\.([\w-]+)=('.*'|\".*\")$", answer, re.MULTILINE)
    return {name: str(ast.literal_eval(value)) for name, value in found}


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
