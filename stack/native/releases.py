"""Programs from their publishers' release archives, each checked against a checksum that is recorded here.

`releases.sha256` names the archives: an archive that it does not name is not taken. An address is the
publisher's own; `GITHUB_URL` and `GRAFANA_DOWNLOADS_URL` put a mirror with the same paths in its place.
"""

import hashlib
import platform
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
import tenacity
from rich.console import Console

from stack.native.cache import cache_folder, machine, whole_or_nothing
from stack.native.progress import progress_of
from stack.settings import StackSettings

RECORDS = Path(__file__).with_name("releases.sha256")
_TIMEOUT = httpx.Timeout(30.0, connect=4.0)
_ATTEMPTS = 3
_SECONDS_BETWEEN_ATTEMPTS = 0.5
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError)
"""What ends a download. Not httpx's own: a proxy or certificates of the shell that are unknown, a host's name
that is none, a disk that is full."""
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class ReleaseError(Exception):
    """The archive cannot be had, or is not what was recorded; in words."""


@dataclass(frozen=True, slots=True)
class Release:
    """How a publisher names a program's archive and what lies in it.

    `{version}`, `{os}` and `{arch}` are filled in; a `*` stands for what only the record knows.
    """

    name: str
    version: str
    address: str
    programs: Mapping[str, str]
    """Path in the archive by the program's name."""
    is_tree: bool = False
    """Whether the program needs all that the archive holds, not the programs alone."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One recorded archive, for this machine."""

    release: Release
    url: str
    """As it is recorded."""
    sha256: str
    programs: Mapping[str, str]

    @property
    def entry(self) -> Path:
        """Its folder in the cache."""
        name = f"{self.release.name}-{self.release.version}-release-{self.sha256[:12]}-{machine()}"
        return cache_folder() / name

    @property
    def refusal(self) -> Path:
        """Why what was downloaded is not taken, if so."""
        return self.entry.with_name(f"{self.entry.name}.refused")

    def refuse(self, why: str) -> ReleaseError:
        """Keeps the reason, for it is not to be downloaded at each `up` again; gives the error to raise."""
        self.refusal.write_text(f"{why}; it is asked for again when {self.refusal} is removed")
        return ReleaseError(why)

    @property
    def paths(self) -> dict[str, Path]:
        """Where its programs lie in the cache by name, or are to lie."""
        folder = self.entry
        return {
            name: folder / (path if self.release.is_tree else name) for name, path in self.programs.items()
        }

    def unpacked(self) -> dict[str, Path] | None:
        """Its programs in the cache by name; None when one is not there."""
        paths = self.paths
        return paths if all(path.is_file() for path in paths.values()) else None


def archive_of(release: Release) -> Archive:
    """The recorded archive of a release for this machine.

    Raises:
        ReleaseError: none is recorded.
    """
    system, architecture = platform.system().lower(), platform.machine().lower()
    values = {
        "version": release.version,
        "os": system,
        "arch": _ARCHITECTURES.get(architecture, architecture),
    }
    pattern = re.escape(release.address.format(**values)).replace(r"\*", r"[^/]*")
    for line in RECORDS.read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        sha256, url = line.split()
        if re.fullmatch(pattern, url):
            programs = {name: path.format(**values) for name, path in release.programs.items()}
            return Archive(release, url, sha256, programs)
    raise ReleaseError(f"{RECORDS.name} names no archive of it for {system}-{values['arch']}")


class Downloads:
    """Archives from the publishers or from their mirrors; a host that cannot be reached is asked once."""

    def __init__(self, settings: StackSettings) -> None:
        self._mirrors = {
            "https://github.com": settings.github_url.rstrip("/"),
            "https://dl.grafana.com": settings.grafana_downloads_url.rstrip("/"),
        }
        self._unreachable: dict[str, str] = {}

    def size_of(self, archive: Archive) -> int | None:
        """How large it is, in bytes; None when that is not told.

        Raises:
            ReleaseError: it cannot be had.
        """
        if archive.refusal.exists():
            raise ReleaseError(archive.refusal.read_text())
        url = self._address(archive)
        host = url.partition("://")[2].partition("/")[0]
        if host in self._unreachable:
            raise ReleaseError(self._unreachable[host])
        try:
            # By GET, for signed addresses are often refused to HEAD; its body is left unread.
            with _asking(url, {}) as answer:
                length = answer.headers.get("content-length", "")
                return int(length) if length.isdecimal() else None
        except httpx.HTTPStatusError as error:
            raise ReleaseError(_status(error)) from error
        except _FAILURES as error:
            why = f"{host} cannot be reached: {_words(error)}"
            self._unreachable[host] = why
            raise ReleaseError(why) from error

    def install(self, archive: Archive, console: Console) -> None:
        """Downloads, checks and unpacks it into the cache, which must be locked.

        Raises:
            ReleaseError: it cannot be had whole, its checksum is another one, or a program is not in it.
        """
        with whole_or_nothing(archive.entry) as unfinished:
            file = unfinished / "archive"
            fetch(self._address(archive), file, f"{archive.release.name} {archive.release.version}", console)
            found = sha256_of(file)
            if found != archive.sha256:
                raise archive.refuse(
                    f"what {self._address(archive)} gives is not what was recorded: its SHA-256 is {found}, "
                    f"{RECORDS.name} says {archive.sha256}"
                )
            try:
                _unpack(file, archive, unfinished)
            except (tarfile.TarError, EOFError) as error:
                raise archive.refuse(f"{archive.url} cannot be unpacked: {error}") from error
            except OSError as error:
                raise ReleaseError(f"{archive.url} cannot be unpacked: {error}") from error
            file.unlink()

    def _address(self, archive: Archive) -> str:
        for publisher, mirror in self._mirrors.items():
            if archive.url.startswith(publisher + "/"):
                return mirror + archive.url.removeprefix(publisher)
        return archive.url


def sha256_of(file: Path) -> str:
    """A file's checksum, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def fetch(url: str, file: Path, what: str, console: Console) -> None:
    """Downloads a file; one that is cut off goes on from there, a few times.

    Raises:
        ReleaseError: it cannot be had whole.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_fixed(_SECONDS_BETWEEN_ATTEMPTS),
        reraise=True,
    )
    try:
        attempts(_fetch_the_rest, url, file, what, console)
    except httpx.HTTPStatusError as error:
        raise ReleaseError(_status(error)) from error
    except _FAILURES as error:
        raise ReleaseError(f"{url} cannot be had whole: {_words(error)}") from error


def _fetch_the_rest(url: str, file: Path, what: str, console: Console) -> None:
    have = file.stat().st_size if file.exists() else 0
    with _asking(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if goes_on else 0
        total = done + int(answer.headers.get("content-length", "0"))
        with (
            file.open("ab" if goes_on else "wb") as output,
            progress_of(console, f"downloading {what}", total or 1) as is_at,
        ):
            # As they come: what waits to be a larger piece would be lost with the connection.
            for piece in answer.iter_raw():
                output.write(piece)
                done += len(piece)
                is_at(done)


@contextmanager
def _asking(url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """An answer that is a success, its body not read yet."""
    # `identity`: the archive as it is, whose length is then known.
    with httpx.stream(
        "GET",
        url,
        headers={"Accept-Encoding": "identity", **headers},
        timeout=_TIMEOUT,
        follow_redirects=True,
    ) as answer:
        yield answer.raise_for_status()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _status(error: httpx.HTTPStatusError) -> str:
    return f"{error.request.url} answers {error.response.status_code} {error.response.reason_phrase}"


def _unpack(file: Path, archive: Archive, folder: Path) -> None:
    with tarfile.open(file) as tar:
        if archive.release.is_tree:
            _extract_all(tar, folder)
        for name, path in archive.programs.items():
            if archive.release.is_tree:
                program = folder / path
            else:
                # Only what is asked for, and only to where we say: no path of the archive's is used.
                program = folder / name
                member = _member(tar, path)
                content = tar.extractfile(member) if member is not None and member.isfile() else None
                if content is not None:
                    with content, program.open("wb") as output:
                        shutil.copyfileobj(content, output)
            if not program.is_file():
                raise archive.refuse(f"{archive.url} holds no {path}")
            program.chmod(0o755)


def _extract_all(tar: tarfile.TarFile, folder: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    # Python before 3.11.4, as in Debian 12: nothing but files and folders, below this one.
    for member in tar.getmembers():
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} would be unpacked elsewhere, or is no file")
    tar.extractall(folder)  # noqa: S202 - looked at above


def _member(tar: tarfile.TarFile, path: str) -> tarfile.TarInfo | None:
    # Some archives are made with `./` before each name.
    return next((each for each in tar if each.name.removeprefix("./") == path), None)
