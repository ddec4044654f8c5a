"""The request metrics of the semantic conventions (OpenTelemetry, HTTP metrics, server).

Dashboards made for the conventions show them unchanged. A body is measured as it crosses the network: a
request's by its Content-Length, else by what the application receives; an answer's by what is sent.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
)
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PROTOCOL_VERSION
from opentelemetry.semconv.attributes.url_attributes import URL_SCHEME
from opentelemetry.trace import Span
from starlette.types import Message, Receive, Scope

from . import names
from .families import Description, Family, HistogramFamily, SumFamily
from .label_sets import LabelSets
from .series import HistogramSeries, SumSeries, exemplar_of

DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""What the conventions advise."""
_SIZE_BUCKETS_BYTES = (0, *(4**power for power in range(4, 14)))
"""256 B to 64 MiB; the conventions advise nothing."""
_REQUEST_LABELS = (
    *(names.HTTP_METHOD, names.HTTP_SCHEME, names.HTTP_ROUTE),
    *(names.HTTP_STATUS_CODE, names.ERROR_TYPE, names.HTTP_VERSION),
)
_REQUEST_ATTRIBUTES = (
    *(HTTP_REQUEST_METHOD, URL_SCHEME, HTTP_ROUTE),
    *(HTTP_RESPONSE_STATUS_CODE, ERROR_TYPE, NETWORK_PROTOCOL_VERSION),
)
_ACTIVE_LABELS = names.HTTP_METHOD, names.HTTP_SCHEME
_ACTIVE_ATTRIBUTES = HTTP_REQUEST_METHOD, URL_SCHEME
_DURATION = Description(
    names.HTTP_DURATION_SECONDS,
    "Duration of HTTP server requests.",
    "seconds",
    names.OTEL_HTTP_DURATION,
    "s",
    _REQUEST_ATTRIBUTES,
)
_REQUEST_BODY = Description(
    names.HTTP_REQUEST_BODY_BYTES,
    "Size of HTTP server request bodies.",
    "bytes",
    names.OTEL_HTTP_REQUEST_BODY,
    "By",
    _REQUEST_ATTRIBUTES,
)
_RESPONSE_BODY = Description(
    names.HTTP_RESPONSE_BODY_BYTES,
    "Size of HTTP server response bodies.",
    "bytes",
    names.OTEL_HTTP_RESPONSE_BODY,
    "By",
    _REQUEST_ATTRIBUTES,
)
_ACTIVE = Description(
    names.HTTP_ACTIVE_REQUESTS,
    "Number of active HTTP server requests.",
    "",
    names.OTEL_HTTP_ACTIVE_REQUESTS,
    "{request}",
    _ACTIVE_ATTRIBUTES,
)


class _Row(NamedTuple):
    duration: HistogramSeries
    request_body: HistogramSeries
    response_body: HistogramSeries


class StandardRequests:
    """The conventions' metrics of every request. Thread-safe.

    Args:
        buckets_seconds: the upper bounds of the duration's buckets.
        max_label_sets: the most label sets of each metric.
        has_created: whether each series says when it began.
    """

    def __init__(self, buckets_seconds: Sequence[float], max_label_sets: int, *, has_created: bool) -> None:
        self._finished = LabelSets(
            names.HTTP_DURATION_SECONDS,
            _REQUEST_LABELS,
            {names.HTTP_SCHEME, names.HTTP_ROUTE, names.ERROR_TYPE},
            max_label_sets,
            lambda: _Row(
                HistogramSeries(buckets_seconds),
                HistogramSeries(_SIZE_BUCKETS_BYTES),
                HistogramSeries(_SIZE_BUCKETS_BYTES),
            ),
        )
        self._active = LabelSets(
            names.HTTP_ACTIVE_REQUESTS, _ACTIVE_LABELS, {names.HTTP_SCHEME}, max_label_sets, SumSeries
        )
        self.families: tuple[Family[Any, Any], ...] = (
            HistogramFamily(
                _DURATION,
                self._finished,
                lambda row: row.duration.read(),
                bounds=buckets_seconds,
                has_created=has_created,
            ),
            HistogramFamily(
                _REQUEST_BODY,
                self._finished,
                lambda row: row.request_body.read(),
                bounds=_SIZE_BUCKETS_BYTES,
                has_created=has_created,
            ),
            HistogramFamily(
                _RESPONSE_BODY,
                self._finished,
                lambda row: row.response_body.read(),
                bounds=_SIZE_BUCKETS_BYTES,
                has_created=has_created,
            ),
            SumFamily(_ACTIVE, self._active, SumSeries.read, has_created=has_created, is_monotonic=False),
        )

    def begin(self, scope: Scope, method: str) -> "ActiveRequest":
        """Counts a request as active, until its `end`.

        Args:
            scope: the request's.
            method: the bounded one.
        """
        key = (method, scope.get("scheme", "http"))
        series = self._active.rows.get(key)
        if series is None:
            series = self._active.bind(key)
        request = ActiveRequest(self._finished, series, key, scope)
        series.add(1)
        return request


class ActiveRequest:
    """A request from its arrival to the end of its answer. For the task that serves it."""

    __slots__ = (
        "_finished",
        "_headers_sent",
        "_is_active",
        "_is_bodiless",
        "_method",
        "_received",
        "_scheme",
        "_sent",
        "_series",
        "_version",
    )

    def __init__(
        self, finished: LabelSets[_Row], series: SumSeries, key: tuple[str, str], scope: Scope
    ) -> None:
        self._finished = finished
        self._series = series
        self._method, self._scheme = key
        self._version = scope.get("http_version")
        self._is_active = True
        self._received = _announced_length(scope)
        """Bytes of the request's body; None until it is known that they must be counted."""
        self._sent = 0
        self._is_bodiless = scope["method"] == "HEAD"
        self._headers_sent: Iterable[tuple[bytes, bytes]] = ()

    def receiving(self, receive: Receive) -> Receive:
        """Returns the application's `receive`, which counts the body if its length was not announced."""
        if self._received is not None:
            return receive
        self._received = 0

        async def counting() -> Message:
            message = await receive()
            if message["type"] == "http.request" and self._received is not None:
                self._received += len(message.get("body", b""))
            return message

        return counting

    def sent(self, message: Message) -> None:
        """Counts the bytes of a message that the server took."""
        kind = message["type"]
        if kind == "http.response.body":
            self._sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            self._headers_sent = message.get("headers", ())
        elif kind == "http.response.pathsend":  # the server reads the file
            self._sent += next(
                (
                    _length(value) or 0
                    for name, value in self._headers_sent
                    if name.lower() == b"content-length"
                ),
                0,
            )

    def end(
        self,
        route: str | None,
        status_code: int | None,
        error_type: str | None,
        duration_seconds: float,
        span: Span | None,
    ) -> None:
        """Counts the request as finished, the first time that it is called.

        Args:
            route: the template; None if no route matched.
            status_code: the one that was sent; None if none was.
            error_type: the class of the error that it failed with, or its status; None for a success.
            duration_seconds: from the arrival to the end of the answer.
            span: the exemplar's; None for no exemplar.
        """
        if not self._is_active:
            return
        self._is_active = False
        self._series.add(-1)
        key = (self._method, self._scheme, route, status_code, error_type, self._version)
        row = self._finished.rows.get(key)
        if row is None:
            row = self._finished.bind(key)
        exemplar = None if span is None else exemplar_of(span, duration_seconds)
        row.duration.observe(duration_seconds, exemplar)
        row.request_body.observe(self._received or 0)
        row.response_body.observe(0 if self._is_bodiless else self._sent)


def _announced_length(scope: Scope) -> int | None:
    """Returns the length of the request's body if that is known at its arrival."""
    has_transfer_encoding = False
    for name, value in scope.get("headers", ()):
        if name == b"content-length":
            return _length(value)
        if name == b"transfer-encoding":
            has_transfer_encoding = True
    is_http_1 = scope.get("http_version", "1.1").startswith("1")
    # In HTTP/1, a request without either header has no body (RFC 9112, section 6.3).
    return 0 if is_http_1 and not has_transfer_encoding else None


def _length(value: bytes) -> int | None:
    # What is no number is refused by servers; the bound keeps a sum finite.
    return int(value) if value.isdigit() and len(value) < _LONGEST_LENGTH else None


_LONGEST_LENGTH = 19
"""Digits; more than any body has bytes."""
