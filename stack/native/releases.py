"""Gets programs from their publishers' release archives, which must match a recorded checksum.

`releases.sha256` lists the accepted archives. The addresses are the publishers' own; `GITHUB_URL` and
`GRAFANA_DOWNLOADS_URL` replace them by mirrors with the same paths.
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
"""The exceptions that end a download. Those that are not httpx's come from unusable proxy or certificate
variables of the shell, an invalid host name, or a full disk."""
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class ReleaseError(Exception):
    """The archive is not available, or differs from the recorded one; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Release:
    """The names that a publisher gives to a program's archive and to the files in it.

    `{version}`, `{os}` and `{arch}` are filled in; a `*` matches a part that only `releases.sha256` has.
    """

    name: str
    version: str
    address: str
    programs: Mapping[str, str]
    """The path in the archive, by the program's name."""
    is_tree: bool = False
    """Whether the programs need the whole archive."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One recorded archive, for this machine."""

    release: Release
    url: str
    """The publisher's address, as recorded."""
    sha256: str
    programs: Mapping[str, str]

    @property
    def entry(self) -> Path:
        """Its folder in the cache."""
        name = f"{self.release.name}-{self.release.version}-release-{self.sha256[:12]}-{machine()}"
        return cache_folder() / name

    @property
    def refusal(self) -> Path:
        """The file with the reason why a downloaded archive was refused; absent if none was."""
        return self.entry.with_name(f"{self.entry.name}.refused")

    def refuse(self, why: str) -> ReleaseError:
        """Records the reason, so that `up` does not download it again; returns the error to raise."""
        self.refusal.write_text(f"{why}; it is asked for again when {self.refusal} is removed")
        return ReleaseError(why)

    @property
    def paths(self) -> dict[str, Path]:
        """The paths of its programs in the cache, by name, whether they are unpacked or not."""
        folder = self.entry
        return {
            name: folder / (path if self.release.is_tree else name) for name, path in self.programs.items()
        }

    def unpacked(self) -> dict[str, Path] | None:
        """Returns the paths of its programs in the cache, by name, or None if one is missing."""
        paths = self.paths
        return paths if all(path.is_file() for path in paths.values()) else None


def archive_of(release: Release) -> Archive:
    """Returns the recorded archive of a release for this machine.

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
    """Downloads archives from the publishers or their mirrors; an unreachable host is tried only once."""

    def __init__(self, settings: StackSettings) -> None:
        self._mirrors = {
            "https://github.com": settings.github_url.rstrip("/"),
            "https://dl.grafana.com": settings.grafana_downloads_url.rstrip("/"),
        }
        self._unreachable: dict[str, str] = {}

    def size_of(self, archive: Archive) -> int | None:
        """Returns the size of an archive in bytes, or None if the server does not report it.

        Raises:
            ReleaseError: it was refused before, or is not available.
        """
        if archive.refusal.exists():
            raise ReleaseError(archive.refusal.read_text())
        url = self._address(archive)
        host = url.partition("://")[2].partition("/")[0]
        if host in self._unreachable:
            raise ReleaseError(self._unreachable[host])
        try:
            # GET with the body left unread, because signed addresses often reject HEAD.
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
        """Downloads, checks and unpacks an archive into the cache, which must be locked.

        Raises:
            ReleaseError: the download fails, the checksum differs, or a program is not in the archive.
        """
        with whole_or_nothing(archive.entry) as unfinished:
            file = unfinished / "archive"
            fetch(self._address(archive), file, f"{archive.release.name} {archive.release.version}", console)
            found = sha256_of(file)
            if found != archive.sha256:
                raise archive.refuse(
                    f"the archive from {self._address(archive)} does not match the recorded checksum: "
                    f"its SHA-256 is {found}, {RECORDS.name} says {archive.sha256}"
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
    """Returns a file's checksum in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def fetch(url: str, file: Path, what: str, console: Console) -> None:
    """Downloads a file; resumes an interrupted download a limited number of times.

    Raises:
        ReleaseError: the file could not be downloaded completely.
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
        raise ReleaseError(f"{url} cannot be downloaded completely: {_words(error)}") from error


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
            # In pieces as they arrive: data buffered for a larger piece would be lost with the connection.
            for piece in answer.iter_raw():
                output.write(piece)
                done += len(piece)
                is_at(done)


@contextmanager
def _asking(url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """Yields a successful response, its body unread."""
    # `identity`: the archive without a content encoding, so that its length is known.
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
                # Only the wanted file, and only to our own path: no path in the archive is trusted.
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
    # Python before 3.11.4, as in Debian 12: accept only files and folders below this one.
    for member in tar.getmembers():
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name} would be unpacked elsewhere, or is no file")
    tar.extractall(folder)  # noqa: S202 - checked above


def _member(tar: tarfile.TarFile, path: str) -> tarfile.TarInfo | None:
    # Some archives have `./` before each name.
    return next((each for each in tar if each.name.removeprefix("./") == path), None)
