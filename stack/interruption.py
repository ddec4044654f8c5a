"""Ctrl-C, SIGTERM and a closed terminal end a command in order: what it started is stopped again.

For the main thread, which alone hears of signals.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console


class Interrupted(BaseException):
    """The command is to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


@dataclass(slots=True)
class _Signals:
    """What was heard of."""

    shields: int = 0
    number: int | None = None

    def hear(self, number: int, _: object) -> None:
        """Ends the command now, or as soon as no shield is held."""
        self.number = number
        self.check()

    def check(self) -> None:
        """Also finds what was raised where Python drops exceptions, as in finalizers."""
        if self.number is not None and not self.shields:
            raise Interrupted(self.number)


_signals = _Signals()


def raise_on_signals() -> None:
    """Has `Interrupted` raised from now on; a shell's background jobs ignore Ctrl-C otherwise."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays
            signal.signal(number, _signals.hear)


@contextmanager
def shielded() -> Iterator[None]:
    """Lets a step be done whole: a signal takes effect after it."""
    _signals.shields += 1
    try:
        yield
    finally:
        _signals.shields -= 1
        _signals.check()


@contextmanager
def undone_when_interrupted(console: Console, *undo: Callable[[], None]) -> Iterator[None]:
    """Calls these, last one first, when the block is interrupted; a second signal does not cut that short."""
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
                except Exception as error:  # noqa: BLE001 - the others must have their turn
                    console.print(f"could not be brought back: {error}", highlight=False, markup=False)
        finally:
            _signals.shields -= 1
        raise
