"""The metrics of requests: the guide's `app.*`, those of the semantic conventions, or both."""

from collections.abc import Sequence
from typing import Any, Literal

from opentelemetry.trace import Span

from ..settings.request import LATENCY_BUCKETS_MS
from . import names
from .families import Description, Family, HistogramFamily, SumFamily
from .label_sets import LabelSets
from .series import HistogramSeries, SumSeries, exemplar_of
from .standard_requests import DURATION_BUCKETS_SECONDS, StandardRequests

_LABELS = (names.METHOD, names.ROUTE, names.STATUS_CODE)
_COUNT = Description(names.REQUEST_COUNT, "Requests answered.", pushed_name=names.OTEL_REQUEST_COUNT)
_LATENCY = Description(
    names.REQUEST_LATENCY_MS,
    "Time from a request's arrival to the end of its answer, in milliseconds.",
    pushed_name=names.OTEL_REQUEST_LATENCY_MS,
    pushed_unit="ms",
)
_ERRORS = Description(
    names.ERROR_COUNT,
    "Requests that failed: answered with 5xx, or ended by an exception.",
    pushed_name=names.OTEL_ERROR_COUNT,
)


class RequestMetrics:
    """The metrics of every request. Thread-safe.

    A record costs a look-up and a lock; what a scrape or a push needs is made when it comes.

    Args:
        kind: the guide's metrics, the conventions', or both.
        latency_buckets_ms: the upper bounds of the latency's buckets, in milliseconds. The conventions'
            duration has their own bounds as long as these are the default ones.
        max_label_sets: the most label sets of each metric.
        has_created: whether each series says when it began.
    """

    def __init__(
        self,
        kind: Literal["app", "standard", "both"],
        latency_buckets_ms: Sequence[float],
        max_label_sets: int,
        *,
        has_created: bool,
    ) -> None:
        self.standard: StandardRequests | None = None
        """The conventions' metrics; None if they are off."""
        self.families: list[Family[Any, Any]] = []
        """Everything recorded here, for `/metrics` and for pushes."""
        self._has_app_metrics = kind != "standard"
        self._answered = LabelSets(
            names.REQUEST_COUNT,
            _LABELS,
            {names.ROUTE},
            max_label_sets,
            lambda: HistogramSeries(latency_buckets_ms),
        )
        self._failed = LabelSets(
            names.ERROR_COUNT,
            (*_LABELS, names.ERROR_TYPE),
            {names.ROUTE, names.ERROR_TYPE},
            max_label_sets,
            SumSeries,
        )
        if self._has_app_metrics:
            self.families += [
                SumFamily(_COUNT, self._answered, HistogramSeries.read_count, has_created=has_created),
                HistogramFamily(
                    _LATENCY,
                    self._answered,
                    HistogramSeries.read,
                    bounds=latency_buckets_ms,
                    has_created=has_created,
                ),
                SumFamily(_ERRORS, self._failed, SumSeries.read, has_created=has_created),
            ]
        if kind != "app":
            is_default = tuple(latency_buckets_ms) == LATENCY_BUCKETS_MS
            bounds = (
                DURATION_BUCKETS_SECONDS if is_default else tuple(each / 1000 for each in latency_buckets_ms)
            )
            self.standard = StandardRequests(bounds, max_label_sets, has_created=has_created)
            self.families += self.standard.families

    @property
    def standard_names(self) -> tuple[str, ...]:
        """The conventions' instruments that are measured here, which nobody else should."""
        families = () if self.standard is None else self.standard.families
        return tuple(each.description.pushed_name for each in families)

    def record(
        self, method: str, route: str | None, status_code: int, duration_ms: float, span: Span | None
    ) -> None:
        """Records one answered request in the guide's metrics, if they are on.

        Args:
            method: the bounded one.
            route: the template; None if no route matched.
            status_code: the answer's.
            duration_ms: from the arrival to the end of the answer.
            span: the exemplar's; None for no exemplar.
        """
        if not self._has_app_metrics:
            return
        key = (method, names.UNMATCHED_ROUTE if route is None else route, status_code)
        series = self._answered.rows.get(key)
        if series is None:
            series = self._answered.bind(key)
        series.observe(duration_ms, None if span is None else exemplar_of(span, duration_ms))

    def record_error(
        self, method: str, route: str | None, status_code: int, error_type: str, span: Span | None
    ) -> None:
        """Counts one request that failed in the guide's metrics, if they are on.

        Args:
            method: the bounded one.
            route: the template; None if no route matched.
            status_code: the answer's.
            error_type: the exception's class, or the status.
            span: the exemplar's; None for no exemplar.
        """
        if not self._has_app_metrics:
            return
        key = (method, names.UNMATCHED_ROUTE if route is None else route, status_code, error_type)
        series = self._failed.rows.get(key)
        if series is None:
            series = self._failed.bind(key)
        series.add(1, None if span is None else exemplar_of(span, 1))
