"""Jaeger's query API (api/v3, OTLP JSON): a synchronous client for commands, and an asynchronous one.

Both use only the four paths that every Jaeger 2 has: it answers an unknown path with its web page and 200.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from stack.backends.traces import Trace, spans_by_service, traces_of
from stack.health import NotYetError, get
from stack.settings import HOST

_TIMEOUT_SECONDS = 5.0


class JaegerError(Exception):
    """Jaeger gave no usable answer; the message is shown on the console's page."""


class Jaeger:
    """A synchronous client, usable from any thread; each call is one request.

    Args:
        port: the port of Jaeger's query API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._url = _api_at(port)

    def spans(self, trace_id: str) -> Mapping[str, list[dict[str, Any]]]:
        """Returns the spans of a trace by service name, as in Jaeger's JSON.

        Raises:
            NotYetError: Jaeger does not answer, or does not know the trace.
        """
        answer = get(f"{self._url}/{_path_of(trace_id)}", timeout_seconds=_TIMEOUT_SECONDS)
        not_its_api = f"{answer.url} is not the API of this Jaeger"
        if _is_page(answer):
            raise NotYetError(not_its_api)
        try:
            return spans_by_service(answer.json())
        except ValueError as error:
            raise NotYetError(not_its_api) from error


class AsyncJaeger:
    """An asynchronous client; each call is one request.

    Args:
        port: the port of Jaeger's query API on this machine.
    """

    def __init__(self, port: int) -> None:
        self._url = _api_at(port)

    async def services(self) -> list[str]:
        """Returns the names of the services that have spans.

        Raises:
            JaegerError: Jaeger does not answer.
        """
        answer = await self._get("services")
        return sorted(answer.get("services") or ())

    async def operations(self, service: str) -> list[str]:
        """Returns the names of a service's spans.

        Raises:
            JaegerError: Jaeger does not answer.
        """
        answer = await self._get("operations", service=service)
        return sorted({each.get("name", "") for each in answer.get("operations") or ()})

    async def search(
        self,
        service: str,
        *,
        operation: str = "",
        at_least_ms: float = 0.0,
        since: datetime,
        until: datetime,
        limit: int,
    ) -> list[Trace]:
        """Returns the latest traces of a service, newest first.

        Raises:
            JaegerError: Jaeger does not answer.
        """
        query = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(since),
            "query.start_time_max": _rfc3339(until),
            "query.num_traces": str(limit),
        }
        if operation:
            query["query.operation_name"] = operation
        if at_least_ms > 0:
            query["query.duration_min"] = f"{at_least_ms:g}ms"
        found = traces_of(await self._get("traces", **query))
        return sorted(found, key=lambda trace: trace.start_ns, reverse=True)

    async def trace(self, trace_id: str) -> Trace | None:
        """Returns one trace, or None if Jaeger does not have it.

        Raises:
            JaegerError: Jaeger does not answer, or rejects the trace id.
        """
        found = traces_of(await self._get(_path_of(trace_id)))
        return found[0] if found else None

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
                answer = await client.get(f"{self._url}/{path}", params=query)
        except httpx.HTTPError as error:
            raise JaegerError(f"Jaeger does not answer ({type(error).__name__})") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if _is_page(answer):
            raise JaegerError(f"{path} is not the API of this Jaeger")
        try:
            body = answer.json()
        except ValueError as error:
            raise JaegerError(f"Jaeger answers {answer.status_code} with no JSON") from error
        if not isinstance(body, dict):
            raise JaegerError(f"Jaeger answers {answer.status_code}, but not as its API does")
        if not answer.is_success:
            raise JaegerError(f"Jaeger answers {answer.status_code}: {_message(body)}")
        return body


def _api_at(port: int) -> str:
    return f"http://{HOST}:{port}/api/v3"


def _path_of(trace_id: str) -> str:
    return f"traces/{quote(trace_id, safe='')}"


def _is_page(answer: httpx.Response) -> bool:
    """Returns whether the response is Jaeger's web page instead of an API response."""
    content_type: str = answer.headers.get("content-type", "")
    return content_type.startswith("text/html")


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error", body)
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
