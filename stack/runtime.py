"""The one interface to the stack, whatever it runs in, and the choice between the kinds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rich.console import Console

from stack.errors import StackError
from stack.parts import MissingPart, Part
from stack.settings import StackSettings


class PartState(StrEnum):
    """How a part is."""

    UP = "up"
    """It runs and says that it is well."""
    UNHEALTHY = "unhealthy"
    """It runs, but does not answer as it should."""
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now."""

    part: Part
    state: PartState
    pid: int | None = None
    memory_bytes: int | None = None
    """Resident memory, its children included."""
    uptime_seconds: float | None = None
    detail: str = ""


class Runtime(Protocol):
    """Runs the parts. One command at a time: calls from two processes wait for one another."""

    @property
    def kind(self) -> str:
        """The runtime's name."""
        ...

    @property
    def missing(self) -> tuple[MissingPart, ...]:
        """What it cannot give."""
        ...

    @property
    def endpoints(self) -> Mapping[str, Part]:
        """The parts by name, with their addresses."""
        ...

    def up(self) -> None:
        """Starts what does not run and waits until every part is well."""
        ...

    def down(self) -> None:
        """Stops everything and removes what the run left."""
        ...

    def status(self) -> list[PartStatus]:
        """Every part, as it is now."""
        ...

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """The part's last lines, then, when following, each new one."""
        ...

    def kill(self, name: str) -> None:
        """Ends the part at once (SIGKILL); it stays dead until started."""
        ...

    def pause(self, name: str) -> None:
        """Freezes the part (SIGSTOP): it accepts connections and never answers."""
        ...

    def resume(self, name: str) -> None:
        """Ends a pause."""
        ...

    def start(self, name: str) -> None:
        """Starts the part and waits until it is well."""
        ...


def choose_runtime(
    settings: StackSettings,
    console: Console,
    kinds: Mapping[str, Callable[[StackSettings, Console], Runtime]],
) -> tuple[Runtime, str]:
    """The runtime that `RUNTIME` names, else the only one there is; and the reason for the choice.

    Raises:
        StackError: `RUNTIME` names a kind that does not exist here.
    """
    if settings.runtime:
        if settings.runtime not in kinds:
            raise StackError(
                f"RUNTIME={settings.runtime!r} does not exist in this version; it knows {', '.join(kinds)}"
            )
        return kinds[settings.runtime](settings, console), f"RUNTIME={settings.runtime}"
    name = next(iter(kinds))
    return kinds[name](settings, console), f"{name} is the only runtime of this version"
