"""Prometheus's query API, as Grafana asks it."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from stack.settings import HOST

_TIMEOUT_SECONDS = 8.0
_SCRAPE_SECONDS = 2
_POINTS = 180
_TRACE_ID = "trace_id"
"""The label by which the services' exemplars name their trace."""


class PrometheusError(Exception):
    """Prometheus did not answer as it should; the message is for the reader of the page."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Seconds of the epoch and value; of an instant query one."""

    def named(self, legend: str) -> str:
        """The legend with this series' labels in it."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: self.labels.get(found[1], ""), legend)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that carries the trace that it was made in."""

    at: float
    value: float
    trace_id: str


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is shown, in seconds of the epoch."""

    start: float
    end: float

    @classmethod
    def until_now(cls, seconds: float) -> "Window":
        """The latest so many seconds."""
        now = time.time()
        return cls(now - seconds, now)

    @property
    def step(self) -> int:
        """Seconds between two points."""
        return max(_SCRAPE_SECONDS, round((self.end - self.start) / _POINTS))

    def fill(self, expression: str, variables: Mapping[str, str]) -> str:
        """The expression with its variables' values, as Grafana reckons them."""
        values = {
            "$__rate_interval": f"{max(self.step + _SCRAPE_SECONDS, 4 * _SCRAPE_SECONDS) + _SCRAPE_SECONDS}s",
            "$__range": f"{round(self.end - self.start)}s",
            **{f"${name}": value for name, value in variables.items()},
        }
        for name, value in values.items():
            expression = expression.replace(name, value)
        return expression


class Prometheus:
    """Asks Prometheus.

    Args:
        port: of its API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://{HOST}:{port}/api/v1", trust_env=False, timeout=_TIMEOUT_SECONDS
        )

    async def range(self, expression: str, window: Window) -> list[Series]:
        """A query over time.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        found = await self._get(
            "query_range", query=expression, start=window.start, end=window.end, step=window.step
        )
        return [Series(each["metric"], _points(each["values"])) for each in found["result"]]

    async def instant(self, expression: str, window: Window) -> list[Series]:
        """A query at the end of the time.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        found = await self._get("query", query=expression, time=window.end)
        return [Series(each["metric"], _points([each["value"]])) for each in found["result"]]

    async def exemplars(self, expression: str, window: Window) -> list[Exemplar]:
        """The highest exemplar of each step, of the metrics that a query reads.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        found = await self._get("query_exemplars", query=expression, start=window.start, end=window.end)
        highest: dict[int, Exemplar] = {}
        for series in found:
            for raw in series["exemplars"]:
                trace_id = raw["labels"].get(_TRACE_ID)
                if trace_id is not None:
                    one = Exemplar(float(raw["timestamp"]), float(raw["value"]), trace_id)
                    step = int(one.at // window.step)
                    highest[step] = max(highest.get(step, one), one, key=lambda each: each.value)
        return sorted(highest.values(), key=lambda each: each.at)

    async def values(self, label: str, metric: str, window: Window) -> list[str]:
        """The values of a label.

        Raises:
            PrometheusError: it does not answer.
        """
        found: list[str] = await self._get(
            f"label/{label}/values", **{"match[]": metric}, start=window.start, end=window.end
        )
        return found

    async def _get(self, path: str, **query: Any) -> Any:
        try:
            answer = await self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise PrometheusError(f"Prometheus does not answer ({type(error).__name__})") from error
        try:
            body = answer.json()
        except ValueError as error:
            raise PrometheusError(f"Prometheus answers {answer.status_code} with no JSON") from error
        if not isinstance(body, dict):
            raise PrometheusError(f"Prometheus answers {answer.status_code} with no answer of its API")
        if body.get("status") != "success":
            raise PrometheusError(f"Prometheus refuses: {str(body.get('error'))[:200]}")
        return body["data"]


def _points(raw: list[list[Any]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(at), float(value)) for at, value in raw)
