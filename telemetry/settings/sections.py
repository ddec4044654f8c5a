"""The sections of a configuration that are handed on whole: what the worker and the spool are told.

The breaker's is `BreakerSettings`, beside the breaker, which knows nothing of this project.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch is made."""

    size: int
    """Spans of a full batch."""
    delay_seconds: float
    """The longest that a span waits in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Where spans wait on disk, how many and how safely."""

    folder: Path
    """Shared by all processes that send to the same destination."""
    max_bytes: int
    max_age_seconds: float
    min_free_ratio: float
    """The share of the disk that others keep, 0 to 1."""
    fsync: Literal["always", "interval", "never"]
    """`always`: at each append; `interval`: each second; `never`."""


def destination_folder(root: Path, *identity: str) -> Path:
    """The folder of one destination: nothing is ever sent to another endpoint, or as another tenant."""
    return root / hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
