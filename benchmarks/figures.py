"""The arithmetic: medians, ratios of paired samples with their interval, and targets."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_RESAMPLES = 2_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    name: str
    unit: str
    ours: Sequence[float]
    stock: Sequence[float]
    """The samples to compare with, each measured beside one of `ours`; empty for an absolute figure."""
    target: float
    is_at_most: bool = True
    bound_of_interval: float | None = None
    """If given, the interval's lower end must not be above it either."""
    is_trusted: bool = True
    """False if something else kept the machine busy, which changes what is read from the clock."""

    @property
    def samples(self) -> list[float]:
        """The values to judge: the paired ratios, or `ours` themselves."""
        if not self.stock:
            return list(self.ours)
        return [mine / theirs for mine, theirs in zip(self.ours, self.stock, strict=True)]

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the median."""
        return bootstrap(self.samples)

    @property
    def is_reached(self) -> bool:
        """Whether the target is reached."""
        if self.bound_of_interval is not None and self.interval[0] > self.bound_of_interval:
            return False
        return self.value <= self.target if self.is_at_most else self.value >= self.target


@dataclass(frozen=True, slots=True)
class Amount:
    """An absolute value, which has no target."""

    name: str
    unit: str
    samples: Sequence[float]

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest sample."""
        return min(self.samples), max(self.samples)


def bootstrap(samples: Sequence[float]) -> tuple[float, float]:
    """Returns the interval of the median by resampling, always the same for the same samples."""
    chance = random.Random(0)  # noqa: S311 - no secret
    medians = sorted(statistics.median(chance.choices(samples, k=len(samples))) for _ in range(_RESAMPLES))
    tail = (1 - _CONFIDENCE) / 2
    return medians[int(tail * _RESAMPLES)], medians[int((1 - tail) * _RESAMPLES) - 1]
