"""Ends a command cleanly on Ctrl-C, SIGTERM or a closed terminal: undoes its changes first.

For the main thread only: Python runs signal handlers there.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console


class Interrupted(BaseException):
    """The command must end because of a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


@dataclass(slots=True)
class _Signals:
    """The last received signal, and the number of held shields."""

    shields: int = 0
    number: int | None = None

    def hear(self, number: int, _: object) -> None:
        """Handles a signal: ends the command now, or as soon as no shield is held."""
        self.number = number
        self.check()

    def check(self) -> None:
        """Raises a pending interruption, even if a first raise was lost, as in a finalizer."""
        if self.number is not None and not self.shields:
            raise Interrupted(self.number)


_signals = _Signals()


def raise_on_signals() -> None:
    """Installs handlers that raise `Interrupted`; a shell's background jobs would otherwise ignore Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays
            signal.signal(number, _signals.hear)


@contextmanager
def shielded() -> Iterator[None]:
    """Lets a step finish: a signal takes effect after it."""
    _signals.shields += 1
    try:
        yield
    finally:
        _signals.shields -= 1
        _signals.check()


@contextmanager
def undone_when_interrupted(console: Console, *undo: Callable[[], None]) -> Iterator[None]:
    """Calls the undo functions, last one first, if the block is interrupted; a second signal has to wait."""
    try:
        yield
        _signals.check()
    except (Interrupted, KeyboardInterrupt):
        _signals.shields += 1
        try:
            console.print("interrupted: bringing the stack back to how it was", highlight=False)
            for each in reversed(undo):
                try:
                    each()
                except Exception as error:  # noqa: BLE001 - the others must still run
                    console.print(f"could not be brought back: {error}", highlight=False, markup=False)
        finally:
            _signals.shields -= 1
        raise
