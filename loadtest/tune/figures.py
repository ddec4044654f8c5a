"""A figure with its interval, and comparisons of cells beyond noise."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel

from loadtest.statistics import bootstrap_median, ratios_to_control, short
from loadtest.tune.plan import Cell, CellRun


class Figure(BaseModel):
    """A median over a cell's valid runs, with its 95 % bootstrap interval, unless stated otherwise."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns the value with its interval in parentheses."""
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"


def median_of(values: Sequence[float], random: np.random.Generator) -> Figure | None:
    """Returns the median with its interval; None if there is no value, or one that is not finite."""
    if not values or not all(map(math.isfinite, values)):
        return None
    estimate = bootstrap_median(values, random=random)
    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)


class Comparisons:
    """Ratios of the cells' values of one kind, repeat by repeat.

    Args:
        runs: the valid runs.
        read: returns a run's value.
        unsure: the probability that an end of an interval is wrong.
    """

    def __init__(self, runs: Sequence[CellRun], read: Callable[[CellRun], float], unsure: float) -> None:
        self._measured = [
            (run.cell, run.repeat, value) for run in runs if 0 < (value := read(run)) < math.inf
        ]
        self._unsure = unsure
        self._found: dict[Cell, dict[Cell, Figure]] = {}

    def to(self, control: Cell) -> dict[Cell, Figure]:
        """Returns each cell's ratio to this one; empty if the noise cannot be estimated."""
        if control not in self._found:
            # The probability applies to each end.
            found = ratios_to_control(self._measured, control, confidence=1 - 2 * self._unsure)
            self._found[control] = {
                cell: Figure(value=it.value, low=it.low, high=it.high) for cell, it in found.items()
            }
        return self._found[control]

    def is_below(self, cell: Cell, other: Cell, ratio: float = 1.0) -> bool:
        """Whether the cell's value is below so much of the other's, beyond noise."""
        found = self.to(other).get(cell)
        return found is not None and found.high < ratio
