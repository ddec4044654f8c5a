"""Options that several commands share, and the console that they print to."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s)")


def finite(value: float | None) -> float | None:
    """Returns the number if it is finite, and None for none.

    Raises:
        typer.BadParameter: it is not finite, which an option's minimum does not rule out.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Users = Annotated[int, typer.Option(envvar="USERS", min=1, help="Shoppers at the same time.")]

Reports = Annotated[Path, typer.Option(envvar="REPORTS", help="Where each run's report gets a folder.")]


def numbers(variable: str, text: str) -> tuple[float, ...]:
    """Parses a list such as `64,512`; an empty text is an empty list.

    Raises:
        typer.BadParameter: an item is not a number above 0; the message names the variable.
    """
    try:
        found = tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        found = (0.0,)
    if not all(0 < value < float("inf") for value in found):
        raise typer.BadParameter(f"{variable}={text!r}: it is a list of numbers above 0, such as 64,512")
    return found


def duration_seconds(variable: str, text: str) -> float | None:
    """Parses a duration such as `1s` or `250ms`; an empty text is None.

    Raises:
        typer.BadParameter: it is not one, or not above 0; the message names the variable.
    """
    if not text.strip():
        return None
    found = _DURATION.fullmatch(text.strip())
    value = float(found[1]) if found else 0.0
    if found is None or not 0 < value < math.inf:
        raise typer.BadParameter(
            f"{variable}={text!r}: it is a time above 0 with its unit, such as 1s or 250ms"
        )
    return value / 1000 if found[2] == "ms" else value


def whole_numbers(variable: str, text: str) -> tuple[int, ...]:
    """Parses a list such as `64,512`; an empty text is an empty list.

    Raises:
        typer.BadParameter: an item is not a whole number above 0; the message names the variable.
    """
    found = numbers(variable, text)
    if any(value != int(value) for value in found):
        raise typer.BadParameter(f"{variable}={text!r}: it is a list of whole numbers, such as 64,512")
    return tuple(int(value) for value in found)


def words(variable: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Parses a list such as `none,gzip`; an empty text is an empty list.

    Raises:
        typer.BadParameter: an item is not known; the message names the variable.
    """
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in found:
        if word not in known:
            raise typer.BadParameter(f"{variable}={text!r}: {word!r} is not one of {', '.join(known)}")
    return found
