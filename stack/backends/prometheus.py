"""Prometheus's query API: a client for commands, and one for an event loop; both read answers alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from stack.health import NotYetError, get
from stack.settings import HOST

_QUERY_SECONDS = 5.0
_SHORT_SECONDS = 2.0
"""For what Prometheus answers without looking at samples."""
_PAGE_SECONDS = 8.0
_TRACE_ID = "trace_id"
"""The label by which the services' exemplars name their trace."""


class PrometheusError(Exception):
    """Prometheus did not answer as it should; the message is for the reader of a page."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Seconds of the epoch and value; an instant query gives one."""

    @property
    def value(self) -> float:
        """The latest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that names the trace it was made in."""

    at: float
    """Seconds of the epoch."""
    value: float
    trace_id: str


class Prometheus:
    """Asks Prometheus from any thread; each call is one request.

    Args:
        port: of its API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._url = _api_at(port)

    def query(self, expression: str) -> list[Series]:
        """The instant vector of a PromQL expression.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        return _series_of(self._get("query", _QUERY_SECONDS, query=expression))

    def total(self, selector: str, *, since: float = 0.0) -> float:
        """The sum over a selector's series with a sample since then (seconds of the epoch); 0 for none.

        Without `since`, a query also finds the last samples of a process that ended less than 5 minutes ago.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        fresh = self.query(f"{selector} and timestamp({selector}) >= {since:.3f}")
        return sum(series.value for series in fresh)

    def exemplar_trace_ids(self, expression: str, *, start: float, end: float) -> set[str]:
        """The trace ids of an expression's exemplars between two times, in seconds of the epoch.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        data = self._get("query_exemplars", _SHORT_SECONDS, query=expression, **times)
        return {exemplar.trace_id for exemplar in _exemplars_of(data)}

    def version(self) -> str:
        """Its version.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        return str(self._get("status/buildinfo", _SHORT_SECONDS)["version"])

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, as its API describes it.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        found: list[dict[str, Any]] = self._get("targets?state=active", _SHORT_SECONDS)["activeTargets"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """The pending and firing alerts, as its API describes them.

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
            raise NotYetError(f"{answer.url} is no API of a Prometheus") from error


class AsyncPrometheus:
    """Asks Prometheus on one event loop; connections are kept.

    Args:
        port: of its API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(base_url=_api_at(port), trust_env=False, timeout=_PAGE_SECONDS)

    async def range(self, expression: str, *, start: float, end: float, step: float) -> list[Series]:
        """The values of an expression between two times, in seconds of the epoch.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        return _series_of(await self._get("query_range", query=expression, start=start, end=end, step=step))

    async def instant(self, expression: str, *, at: float) -> list[Series]:
        """The value of an expression at a time, in seconds of the epoch.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        return _series_of(await self._get("query", query=expression, time=at))

    async def exemplars(self, expression: str, *, start: float, end: float) -> list[Exemplar]:
        """The exemplars between two times of the metrics that an expression reads.

        Raises:
            PrometheusError: it does not answer, or refuses.
        """
        return _exemplars_of(await self._get("query_exemplars", query=expression, start=start, end=end))

    async def values(self, label: str, metric: str, *, start: float, end: float) -> list[str]:
        """The values of a metric's label between two times.

        Raises:
            PrometheusError: it does not answer.
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
            raise PrometheusError(f"Prometheus answers {answer.status_code} with no answer of its API")
        if body.get("status") != "success":
            raise PrometheusError(f"Prometheus refuses: {str(body.get('error'))[:200]}")
        return body["data"]


def _api_at(port: int) -> str:
    return f"http://{HOST}:{port}/api/v1"


def _series_of(data: Mapping[str, Any]) -> list[Series]:
    """Reads a vector or a matrix."""
    return [
        Series(each["metric"], _points(each["values"] if "values" in each else [each["value"]]))
        for each in data["result"]
    ]


def _points(raw: list[list[Any]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(at), float(value)) for at, value in raw)


def _exemplars_of(data: list[Mapping[str, Any]]) -> list[Exemplar]:
    """Leaves out those that name no trace."""
    return [
        Exemplar(float(raw["timestamp"]), float(raw["value"]), raw["labels"][_TRACE_ID])
        for series in data
        for raw in series["exemplars"]
        if _TRACE_ID in raw["labels"]
    ]
