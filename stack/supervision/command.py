"""The command that a supervised part is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Command:
    """One part's process."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    """The digests of the files that it reads when it starts, by path: an edited file means a restart."""
