"""Prometheus's query API: a synchronous client for commands, and an asynchronous one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from stack.health import NotYetError, get
from stack.settings import HOST

_QUERY_SECONDS = 5.0
_SHORT_SECONDS = 2.0
"""Timeout of requests that Prometheus answers without reading samples."""
_PAGE_SECONDS = 8.0
_TRACE_ID = "trace_id"
"""The label of the services' exemplars that holds the trace id."""


class PrometheusError(Exception):
    """Prometheus gave no usable answer; the message is shown on the console's page."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a query result."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Pairs of time, in seconds since the epoch, and value; an instant query gives one."""

    @property
    def value(self) -> float:
        """The latest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation, with the id of the trace that it was made in."""

    at: float
    """In seconds since the epoch."""
    value: float
    trace_id: str


class Prometheus:
    """A synchronous client, usable from any thread; each call is one request.

    Args:
        port: the port of Prometheus's API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._url = _api_at(port)

    def query(self, expression: str) -> list[Series]:
        """Returns the instant vector of a PromQL expression.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        return _series_of(self._get("query", _QUERY_SECONDS, query=expression))

    def total(self, selector: str, *, since: float = 0.0) -> float:
        """Returns the sum over a selector's series with a sample at or after `since`, or 0 if there are none.

        `since` is in seconds since the epoch. Without it, the sum includes the last samples of processes
        that ended less than 5 minutes ago.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        fresh = self.query(f"{selector} and timestamp({selector}) >= {since:.3f}")
        return sum(series.value for series in fresh)

    def exemplar_trace_ids(self, expression: str, *, start: float, end: float) -> set[str]:
        """Returns the trace ids of an expression's exemplars between two times, in seconds since the epoch.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        data = self._get("query_exemplars", _SHORT_SECONDS, query=expression, **times)
        return {exemplar.trace_id for exemplar in _exemplars_of(data)}

    def version(self) -> str:
        """Returns Prometheus's version.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        return str(self._get("status/buildinfo", _SHORT_SECONDS)["version"])

    def targets(self) -> list[dict[str, Any]]:
        """Returns the active scrape targets, as the API describes them.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        found: list[dict[str, Any]] = self._get("targets?state=active", _SHORT_SECONDS)["activeTargets"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Returns the pending and firing alerts, as the API describes them.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        found: list[dict[str, Any]] = self._get("alerts", _SHORT_SECONDS)["alerts"]
        return found

    def _get(self, path: str, timeout_seconds: float, **query: str) -> Any:
        answer = get(f"{self._url}/{path}", timeout_seconds=timeout_seconds, **query)
        try:
            return answer.json()["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise NotYetError(f"{answer.url} is not the API of a Prometheus") from error


class AsyncPrometheus:
    """An asynchronous client for one event loop; it keeps its connections.

    Args:
        port: the port of Prometheus's API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(base_url=_api_at(port), trust_env=False, timeout=_PAGE_SECONDS)

    async def range(self, expression: str, *, start: float, end: float, step: float) -> list[Series]:
        """Returns the values of an expression between two times, in seconds since the epoch.

        Raises:
            PrometheusError: Prometheus does not answer, or rejects the query.
        """
        return _series_of(await self._get("query_range", query=expression, start=start, end=end, step=step))

    async def instant(self, expression: str, *, at: float) -> list[Series]:
        """Returns the values of an expression at one time, in seconds since the epoch.

        Raises:
            PrometheusError: Prometheus does not answer, or rejects the query.
        """
        return _series_of(await self._get("query", query=expression, time=at))

    async def exemplars(self, expression: str, *, start: float, end: float) -> list[Exemplar]:
        """Returns the exemplars between two times of the metrics that an expression selects.

        Raises:
            PrometheusError: Prometheus does not answer, or rejects the query.
        """
        return _exemplars_of(await self._get("query_exemplars", query=expression, start=start, end=end))

    async def values(self, label: str, metric: str, *, start: float, end: float) -> list[str]:
        """Returns the values of a metric's label between two times.

        Raises:
            PrometheusError: Prometheus does not answer, or rejects the query.
        """
        query = {"match[]": metric, "start": start, "end": end}
        found: list[str] = await self._get(f"label/{label}/values", **query)
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
            raise PrometheusError(f"Prometheus answers {answer.status_code}, but not as its API does")
        if body.get("status") != "success":
            raise PrometheusError(f"Prometheus refuses: {str(body.get('error'))[:200]}")
        return body["data"]


def _api_at(port: int) -> str:
    return f"http://{HOST}:{port}/api/v1"


def _series_of(data: Mapping[str, Any]) -> list[Series]:
    """Parses a vector or a matrix."""
    return [
        Series(each["metric"], _points(each["values"] if "values" in each else [each["value"]]))
        for each in data["result"]
    ]


def _points(raw: list[list[Any]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(at), float(value)) for at, value in raw)


def _exemplars_of(data: list[Mapping[str, Any]]) -> list[Exemplar]:
    """Parses the exemplars, leaving out those without a trace id."""
    return [
        Exemplar(float(raw["timestamp"]), float(raw["value"]), raw["labels"][_TRACE_ID])
        for series in data
        for raw in series["exemplars"]
        if _TRACE_ID in raw["labels"]
    ]
