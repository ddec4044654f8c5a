"""The one interface to the stack, whatever it runs in, and the choice between the kinds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stack.errors import StackError
from stack.parts import MissingPart, Part, SlowLink
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

    def up(self, before_change: Callable[[], None] = lambda: None) -> None:
        """Starts what does not run and waits until every part is well.

        Args:
            before_change: called once all is checked, before the first thing is changed.
        """
        ...

    def as_it_is(self) -> Callable[[], None]:
        """Notes how it is; what it returns brings that back, after an `up` that was interrupted."""
        ...

    def down(self) -> None:
        """Stops everything; the data stays."""
        ...

    def clean(self) -> list[str]:
        """Stops everything, removes its data, and returns what was removed, in words."""
        ...

    def is_up(self) -> bool:
        """Whether anything of it was started and not taken down."""
        ...

    def obstacle(self) -> str | None:
        """Why the stack cannot be started in it; None when it can."""
        ...

    def status(self) -> list[PartStatus]:
        """Every part, as it is now."""
        ...

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """The part's last lines, then, when following, each new one."""
        ...

    def kill(self, name: str) -> bool:
        """Ends the part at once (SIGKILL); it stays dead until started. False: it was dead."""
        ...

    def pause(self, name: str) -> bool:
        """Freezes the part (SIGSTOP): it accepts connections, never answers. False: it was frozen."""
        ...

    def resume(self, name: str) -> bool:
        """Ends a pause. False: there was none."""
        ...

    def start(self, name: str) -> bool:
        """Starts the part and waits until it is well. False: it was up."""
        ...

    def restart(self, name: str, variables: Mapping[str, str]) -> None:
        """Stops the part as a user would and starts it with these variables over its own, until it is well.

        With none, as `up` starts it; `up` also takes them back.
        """
        ...

    @property
    def slow_link(self) -> SlowLink:
        """How to put toxiproxy, the part of that name, between services and Collector."""
        ...


def choose_runtime(
    settings: StackSettings, runtimes: Sequence[Runtime], *, to_start: bool
) -> tuple[Runtime, str]:
    """The runtime to use, and why: what `RUNTIME` names, else the one that is up, else the first that can be.

    Args:
        settings: `runtime` is what was asked for.
        runtimes: every kind, the preferred one first.
        to_start: whether the stack is about to be started.

    Raises:
        StackError: another runtime than the one that is asked for is up, and holds the ports.
    """
    if settings.runtime:
        (named,) = [each for each in runtimes if each.kind == settings.runtime]
        for other in runtimes:
            if to_start and other is not named and other.is_up():
                raise StackError(
                    f"the stack is up in the {other.kind} runtime: `make down RUNTIME={other.kind}` first"
                )
        return named, f"RUNTIME={settings.runtime}"
    for runtime in runtimes:
        if runtime.is_up():
            return runtime, "it is up"
    if not to_start:
        return runtimes[-1], "nothing is up"
    obstacles: list[str] = []
    for runtime in runtimes:
        obstacle = runtime.obstacle()
        if obstacle is None:
            reason = "; ".join(obstacles) or "an engine answers, and the images are here or can be pulled"
            return runtime, reason
        obstacles.append(f"no {runtime.kind}: {obstacle}")
    raise StackError("; ".join(obstacles))
