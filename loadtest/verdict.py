"""The verdict on each promise that a run tests, with the figure that was measured."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape


class Judgement(StrEnum):
    """The result of judging a promise."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INVALID = "INVALID"
    """The promise was not measured properly, so it is neither kept nor broken."""


_COLOURS = {Judgement.PASS: "green", Judgement.FAIL: "red", Judgement.INVALID: "yellow"}


class Verdict(BaseModel):
    """The verdict on one promise."""

    model_config = ConfigDict(frozen=True)

    judgement: Judgement
    promise: str
    figure: str
    """The measurement, with units."""


def judge(promise: str, *, is_kept: bool, figure: str) -> Verdict:
    """Returns the verdict on a promise that was measured."""
    return Verdict(judgement=Judgement.PASS if is_kept else Judgement.FAIL, promise=promise, figure=figure)


def is_good(verdicts: Iterable[Verdict]) -> bool:
    """Returns whether every promise was kept; False if there are none."""
    found = [verdict.judgement is Judgement.PASS for verdict in verdicts]
    return bool(found) and all(found)


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Prints one line per promise, which only the terminal itself wraps."""
    widest = max((len(verdict.promise) for verdict in verdicts), default=0)
    widest_word = max((len(verdict.judgement) for verdict in verdicts), default=0)
    for verdict in verdicts:
        judgement = f"[{_COLOURS[verdict.judgement]}]{verdict.judgement:<{widest_word}}[/]"
        line = f"{judgement}  {escape(f'{verdict.promise:<{widest}}')}  {escape(verdict.figure)}"
        console.print(line, soft_wrap=True, highlight=False)
