"""Arrival shapes: the requested rate at each moment of a run."""

import math
from enum import StrEnum

UNKNOWN_DURATION_SECONDS = 300.0
"""The period of a shape on Locust's page, where the run's length is not known."""

_STAIRS = 5
_LOW = 0.2
_RAMP = 0.1
_CELLS = 100
"""The number of pieces of a shape; every stair, spike and ramp begins and ends at the bounds of pieces."""


class Shape(StrEnum):
    """The course of the arrival rate over a run."""

    STEADY = "steady"
    """The full rate throughout."""
    STEP = "step"
    """Five stairs of equal length up to the full rate: where does it begin to hurt?"""
    SPIKE = "spike"
    """A fifth of the rate, and the full rate for the middle fifth of the run: what does a burst cost?"""
    SOAK = "soak"
    """A slow ramp over the first tenth, then the full rate: for runs of hours."""


def rate_at(shape: Shape, elapsed_seconds: float, *, rate: float, duration_seconds: float) -> float:
    """Returns the rate at a moment of the run, above 0; a longer run repeats the shape, but not a ramp."""
    progress = elapsed_seconds % duration_seconds / duration_seconds
    match shape:
        case Shape.STEADY:
            return rate
        case Shape.STEP:
            return rate * (int(progress * _STAIRS) + 1) / _STAIRS
        case Shape.SPIKE:
            is_in_the_middle = abs(progress - 0.5) <= _LOW / 2
            return rate if is_in_the_middle else rate * _LOW
        case Shape.SOAK:
            is_held = progress >= _RAMP or elapsed_seconds >= duration_seconds
            return rate if is_held else rate * max(_LOW, progress / _RAMP)


def elapsed_after(
    shape: Shape, elapsed_seconds: float, requests: float, *, rate: float, duration_seconds: float
) -> float:
    """Returns when this many more requests have become due after `elapsed_seconds`, in seconds of the run.

    A wait computed only from the rate at its beginning would sleep through a spike.
    """
    if shape is Shape.STEADY:
        return elapsed_seconds + requests / rate
    cell_seconds = duration_seconds / _CELLS
    cell = math.floor(elapsed_seconds / cell_seconds)
    while True:
        cell += 1
        end = max(elapsed_seconds, cell * cell_seconds)
        # The rate in the middle of a piece stands for all of it; this is exact where the shape is linear.
        middle = (cell - 0.5) * cell_seconds
        here = rate_at(shape, middle, rate=rate, duration_seconds=duration_seconds)
        due_in_cell = (end - elapsed_seconds) * here
        if due_in_cell >= requests:
            return elapsed_seconds + requests / here
        requests -= due_in_cell
        elapsed_seconds = end
