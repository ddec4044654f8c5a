"""Digests of the files that a part reads, to detect edits since the part was started."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stack.settings import ROOT

_LENGTH = 12


def digests(*paths: str) -> dict[str, str]:
    """Returns a digest for each path below the root; a folder's digest covers all its files."""
    return {path: _digest(ROOT / path) for path in paths}


def written(files: Mapping[str, str]) -> str:
    """Formats digests as one word, for an environment variable or a label."""
    return ",".join(f"{path}={digest}" for path, digest in sorted(files.items()))


def edited(before: str, after: str) -> list[str]:
    """Returns the paths whose digests differ between two such words; paths in only one do not count."""
    pairs = [dict(_pairs(word)) for word in (before, after)]
    return sorted(path for path in pairs[0].keys() & pairs[1].keys() if pairs[0][path] != pairs[1][path])


def _pairs(word: str) -> Iterable[tuple[str, str]]:
    return ((path, digest) for path, _, digest in (each.partition("=") for each in word.split(",")) if path)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    for file in _files(path):
        found.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()[:_LENGTH]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file
