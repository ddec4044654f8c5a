"""The time range that a dashboard displays, and the values that depend on it."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stack.backends.prometheus import Exemplar

_SCRAPE_SECONDS = 2
_POINTS = 180


@dataclass(frozen=True, slots=True)
class Window:
    """The displayed time range, in seconds since the epoch."""

    start: float
    end: float

    @classmethod
    def until_now(cls, seconds: float) -> "Window":
        """Returns the window of this duration that ends now."""
        now = time.time()
        return cls(now - seconds, now)

    @property
    def step(self) -> int:
        """The seconds between two points."""
        return max(_SCRAPE_SECONDS, round((self.end - self.start) / _POINTS))

    def fill(self, expression: str, variables: Mapping[str, str]) -> str:
        """Replaces the variables in an expression; calculates Grafana's own as Grafana does."""
        values = {
            "$__rate_interval": f"{max(self.step + _SCRAPE_SECONDS, 4 * _SCRAPE_SECONDS) + _SCRAPE_SECONDS}s",
            "$__range": f"{round(self.end - self.start)}s",
            **{f"${name}": value for name, value in variables.items()},
        }
        for name, value in values.items():
            expression = expression.replace(name, value)
        return expression

    def highest_of_each_step(self, exemplars: Iterable[Exemplar]) -> list[Exemplar]:
        """Returns the highest exemplar of each step that has any, in chronological order."""
        highest: dict[int, Exemplar] = {}
        for one in exemplars:
            step = int(one.at // self.step)
            highest[step] = max(highest.get(step, one), one, key=lambda each: each.value)
        return sorted(highest.values(), key=lambda each: each.at)
