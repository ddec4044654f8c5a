"""The spool's section of the configuration. Defaults are declared in `config.py`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Location, limits and durability of spooled spans."""

    folder: Path
    """Shared by all processes that send to the same destination."""
    endpoint: str
    """The destination without credentials and query, for people to read."""
    protocol: str
    max_bytes: int
    max_age_seconds: float
    min_free_ratio: float
    """The share of the disk that is left free, 0 to 1."""
    fsync: Literal["always", "interval", "never"]
    """`always`: at each append; `interval`: each second; `never`."""


def destination_folder(root: Path, *identity: str) -> Path:
    """Returns the folder of one destination: no span is sent to another endpoint or as another tenant."""
    return root / hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
