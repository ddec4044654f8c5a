"""What a run was to show, and whether it did: a line a promise, each with its figure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Judgement(StrEnum):
    """How a promise came out."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INVALID = "INVALID"
    """It was not measured properly: neither kept nor broken."""


_COLOURS = {Judgement.PASS: "green", Judgement.FAIL: "red", Judgement.INVALID: "yellow"}


class Verdict(BaseModel):
    """One promise, judged."""

    model_config = ConfigDict(frozen=True)

    judgement: Judgement
    promise: str
    figure: str
    """What was measured, with units."""


def judge(promise: str, *, is_kept: bool, figure: str) -> Verdict:
    """A promise that was measured."""
    return Verdict(judgement=Judgement.PASS if is_kept else Judgement.FAIL, promise=promise, figure=figure)


def is_good(verdicts: Iterable[Verdict]) -> bool:
    """Whether every promise was kept; of none, it was not."""
    found = [verdict.judgement is Judgement.PASS for verdict in verdicts]
    return bool(found) and all(found)


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Prints a line a promise."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("judgement", "promise"):
        table.add_column(column, no_wrap=True)
    table.add_column("figure")
    for verdict in verdicts:
        colour = _COLOURS[verdict.judgement]
        table.add_row(f"[{colour}]{verdict.judgement}[/]", escape(verdict.promise), escape(verdict.figure))
    console.print(table)
