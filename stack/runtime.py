"""The common interface of the stack's runtimes, and the choice between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stack.errors import StackError
from stack.parts import MissingPart, Part, SlowLink
from stack.settings import StackSettings


class PartState(StrEnum):
    """The state of a part."""

    UP = "up"
    """It runs and reports that it is healthy."""
    UNHEALTHY = "unhealthy"
    """It runs, but its health check fails."""
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The current status of one part."""

    part: Part
    state: PartState
    pid: int | None = None
    memory_bytes: int | None = None
    """Memory, including that of its children."""
    uptime_seconds: float | None = None
    detail: str = ""


class Runtime(Protocol):
    """Runs the parts, one command at a time: calls from two processes wait for one another."""

    @property
    def kind(self) -> str:
        """The runtime's name."""
        ...

    @property
    def missing(self) -> tuple[MissingPart, ...]:
        """The parts that it lacks."""
        ...

    @property
    def endpoints(self) -> Mapping[str, Part]:
        """The parts by name, with their addresses."""
        ...

    def up(self, before_change: Callable[[], None] = lambda: None) -> None:
        """Starts what does not run, and waits until every part is healthy.

        Args:
            before_change: called once all checks have passed, before the first change.
        """
        ...

    def as_it_is(self) -> Callable[[], None]:
        """Captures the current state; the returned function restores it after an interrupted `up`."""
        ...

    def down(self) -> None:
        """Stops everything; keeps the data."""
        ...

    def clean(self) -> list[str]:
        """Stops everything, removes its data, and returns descriptions of the removed objects."""
        ...

    def is_up(self) -> bool:
        """Returns whether anything in it was started and not taken down."""
        ...

    def obstacle(self) -> str | None:
        """Returns why the stack cannot be started in it, or None if it can."""
        ...

    def status(self) -> list[PartStatus]:
        """Returns the current status of every part."""
        ...

    def logs(self, name: str, *, lines: int, follow: bool) -> Iterator[str]:
        """Yields the part's last lines, and each new one if following."""
        ...

    def kill(self, name: str) -> bool:
        """Ends the part at once (SIGKILL); it stays dead until started. False: it was dead already."""
        ...

    def pause(self, name: str) -> bool:
        """Freezes the part: it accepts connections but never answers. False: it was frozen already."""
        ...

    def resume(self, name: str) -> bool:
        """Resumes the part. False: it was not frozen."""
        ...

    def start(self, name: str) -> bool:
        """Starts the part and waits until it is healthy. False: it was up already."""
        ...

    def restart(self, name: str, variables: Mapping[str, str]) -> None:
        """Restarts the part gracefully with these variables over its own, and waits until it is healthy.

        Without variables it is started as by `up`; `up` also undoes an earlier override.
        """
        ...

    @property
    def slow_link(self) -> SlowLink:
        """The addresses for putting toxiproxy, the part of that name, between services and Collector."""
        ...


def choose_runtime(
    settings: StackSettings, runtimes: Sequence[Runtime], *, to_start: bool
) -> tuple[Runtime, str]:
    """Chooses the runtime that `RUNTIME` names, else the one that is up, else the first that can be started.

    Args:
        settings: the settings; their `runtime` is the requested one, if any.
        runtimes: every runtime, the preferred one first.
        to_start: whether the stack is about to be started.

    Returns:
        The runtime, and the reason for its choice.

    Raises:
        StackError: another runtime than the requested one is up and holds the ports, or none can be started.
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
