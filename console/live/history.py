"""The history that the charts show: curves of readings and rates, and bands of breaker states."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from console.charts import GRAY, GREEN, PURPLE, RED, YELLOW, Band, Points
from console.observer import PERIOD_SECONDS
from console.rates import Rates, rates
from console.readings import Reading
from telemetry.export.breaker import BreakerState

WINDOW_SECONDS = 300
RATE_SECONDS = 5
"""Rates span this many readings: a single one has too few requests for a percentile."""
_GAP_SECONDS = 5 * PERIOD_SECONDS

_COLOURS = {
    BreakerState.CLOSED: GREEN,
    BreakerState.HALF_OPEN: YELLOW,
    BreakerState.OPEN: RED,
    BreakerState.FORCED_OPEN: PURPLE,
    BreakerState.DISABLED: GRAY,
}


class History:
    """The latest readings and their rates, each calculated once. Belongs to one page."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.rates: list[Rates | None] = []
        self._unbroken = 0
        """The number of latest readings without a gap."""

    def follow(self, readings: Sequence[Reading]) -> None:
        """Adds the new ones of `readings`, which start with the oldest; drops those older than the window."""
        for reading in readings:
            latest = self.readings[-1].at if self.readings else 0.0
            if reading.at <= latest:
                continue
            if self.readings and reading.at - latest > _GAP_SECONDS:
                # No page was open, so nothing was read: an empty reading leaves a gap in the charts.
                self._take(Reading(latest + PERIOD_SECONDS), None)
                self._unbroken = 0
            before = self.readings[-min(RATE_SECONDS, self._unbroken)] if self._unbroken else None
            self._take(reading, before)
            self._unbroken += 1
        oldest = self.readings[-1].at - WINDOW_SECONDS if self.readings else 0.0
        old = sum(reading.at < oldest for reading in self.readings)
        del self.readings[:old], self.rates[:old]

    def _take(self, reading: Reading, before: Reading | None) -> None:
        self.readings.append(reading)
        self.rates.append(None if before is None else rates(before, reading))

    def rate(self, pick: Callable[[Rates], float | None]) -> Points:
        """Returns a curve of the rates."""
        return [
            (reading.at * 1000, None if found is None else _rounded(pick(found)))
            for reading, found in zip(self.readings, self.rates, strict=True)
        ]

    def level(self, pick: Callable[[Reading], float | None]) -> Points:
        """Returns a curve of the readings."""
        return [(reading.at * 1000, _rounded(pick(reading))) for reading in self.readings]

    def breaker_bands(self, services: Sequence[str]) -> list[Band]:
        """Returns each service's breaker states as bands, with gaps while the service does not answer."""
        found = []
        for service in services:
            start: tuple[float, BreakerState] | None = None
            for reading, following in pairwise([*self.readings, None]):
                assert reading is not None  # noqa: S101 - only the last is None
                state = now.breaker if (now := reading.services.get(service)) else None
                later = following.services.get(service) if following else None
                if state is None:
                    start = None
                    continue
                begun = start or (reading.at, state)
                start = begun
                if later is None or later.breaker is not state:
                    end = following.at if following else reading.at
                    found.append(
                        Band(
                            service,
                            begun[0] * 1000,
                            end * 1000,
                            state.value.replace("_", " "),
                            _COLOURS[state],
                        )
                    )
                    start = None
        return found


def summed(values: Sequence[float | None]) -> float | None:
    """Returns the sum of the known values, or None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
