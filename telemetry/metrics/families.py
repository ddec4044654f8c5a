"""Metric families of our own: recorded in series, scraped as Prometheus's and pushed as OpenTelemetry's."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from opentelemetry.sdk.metrics import Exemplar as PushedExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataT,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as PushedMetric
from opentelemetry.util.types import AttributeValue
from prometheus_client.core import Exemplar, Metric, Sample
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .label_sets import Key, LabelSets
from .series import HistogramReading, SumReading, TraceExemplar

Row = TypeVar("Row")
Reading = TypeVar("Reading", HistogramReading, SumReading)
_CUMULATIVE = AggregationTemporality.CUMULATIVE


@dataclass(frozen=True, slots=True)
class Description:
    """What a family is called."""

    name: str
    """Its name on `/metrics`."""
    documentation: str
    unit: str = ""
    """The unit on `/metrics`, with which the name ends; none for names that are not made so."""
    pushed_name: str = ""
    """The name of the OpenTelemetry instrument."""
    pushed_unit: str = "1"
    """The unit of the OpenTelemetry instrument."""
    attributes: tuple[str, ...] | None = None
    """The pushed names of the labels, whose values keep their types; by default the labels, as texts."""


class Family(Collector, ABC, Generic[Row, Reading]):
    """One metric of every label set; a collector of a Prometheus registry. Thread-safe.

    Args:
        description: its names.
        label_sets: their rows.
        read: reads this metric's values from a row.
    """

    def __init__(
        self, description: Description, label_sets: LabelSets[Row], read: Callable[[Row], Reading]
    ) -> None:
        self.description = description
        self._label_sets = label_sets
        self._read: Callable[[Row], Reading] = read

    def describe(self) -> Iterable[Metric]:
        """Returns the family without samples, by which the registry refuses a name that exists."""
        return (self._empty(),)

    def collect(self) -> Iterable[Metric]:
        """Returns the family for `/metrics`."""
        family = self._empty()
        readings = [(key, self._read(row)) for key, row in self._label_sets.snapshot()]
        family.samples = _Samples(  # type: ignore[assignment] # whoever encodes it only iterates
            lambda: [
                sample for key, reading in readings for sample in self._samples(self._labels(key), reading)
            ]
        )
        return (family,)

    def push(self) -> PushedMetric | None:
        """Returns the metric as the OpenTelemetry SDK collects it; None without a series."""
        rows = [(self._attributes(key), self._read(row)) for key, row in self._label_sets.snapshot()]
        if not rows:
            return None
        each = self.description
        return PushedMetric(
            each.pushed_name, each.documentation, each.pushed_unit, self._data(rows, time.time_ns())
        )

    def _labels(self, key: Key) -> dict[str, str]:
        labels = zip(self._label_sets.labels, key, strict=True)
        return {name: str(value) for name, value in labels if value is not None}

    def _attributes(self, key: Key) -> dict[str, AttributeValue]:
        attributes = self.description.attributes
        if attributes is None:
            return {**self._labels(key)}
        return {name: value for name, value in zip(attributes, key, strict=True) if value is not None}

    def _empty(self) -> Metric:
        each = self.description
        return Metric(each.name, each.documentation, self._kind, each.unit)

    @property
    @abstractmethod
    def _kind(self) -> str:
        """The type on `/metrics`."""

    @abstractmethod
    def _samples(self, labels: dict[str, str], reading: Reading) -> Iterator[Sample]: ...

    @abstractmethod
    def _data(self, rows: list[tuple[dict[str, AttributeValue], Reading]], now_ns: int) -> DataT: ...


class HistogramFamily(Family[Row, HistogramReading]):
    """A histogram of every label set.

    Args:
        description: its names.
        label_sets: their rows.
        read: reads a row's histogram.
        bounds: the buckets' upper bounds, in the metric's unit.
        has_created: whether each series says when it began, as OpenMetrics can.
    """

    _kind = "histogram"

    def __init__(
        self,
        description: Description,
        label_sets: LabelSets[Row],
        read: Callable[[Row], HistogramReading],
        *,
        bounds: Sequence[float],
        has_created: bool,
    ) -> None:
        super().__init__(description, label_sets, read)
        self._bounds = tuple(bounds)
        self._limits: list[str] = [
            floatToGoString(bound)  # type: ignore[no-untyped-call] # marked so by prometheus_client
            for bound in (*bounds, float("inf"))
        ]
        self._has_created = has_created

    def _samples(self, labels: dict[str, str], reading: HistogramReading) -> Iterator[Sample]:
        name, count = self.description.name, 0
        bucket = f"{name}_bucket"
        for limit, number, exemplar in zip(self._limits, reading.counts, reading.exemplars, strict=True):
            count += number
            yield Sample(bucket, {**labels, "le": limit}, count, None, _scraped(exemplar))
        yield Sample(f"{name}_count", labels, count)
        yield Sample(f"{name}_sum", labels, reading.total)
        if self._has_created:
            yield Sample(f"{name}_created", labels, reading.created_seconds)

    def _data(self, rows: list[tuple[dict[str, AttributeValue], HistogramReading]], now_ns: int) -> DataT:
        points = [
            HistogramDataPoint(
                attributes,
                round(reading.created_seconds * 1e9),
                now_ns,
                count=sum(reading.counts),
                sum=reading.total,
                bucket_counts=reading.counts,
                explicit_bounds=self._bounds,
                min=None,  # type: ignore[arg-type] # optional in OTLP
                max=None,  # type: ignore[arg-type] # optional in OTLP
                exemplars=[_pushed(each) for each in reading.exemplars if each is not None],
            )
            for attributes, reading in rows
        ]
        return Histogram(points, _CUMULATIVE)


class SumFamily(Family[Row, SumReading]):
    """A sum of every label set: a counter, or a gauge if it may fall.

    Args:
        description: its names.
        label_sets: their rows.
        read: reads a row's sum.
        has_created: whether each series says when it began, as OpenMetrics can.
        is_monotonic: whether it only grows.
    """

    def __init__(
        self,
        description: Description,
        label_sets: LabelSets[Row],
        read: Callable[[Row], SumReading],
        *,
        has_created: bool,
        is_monotonic: bool = True,
    ) -> None:
        super().__init__(description, label_sets, read)
        self._has_created = has_created
        self._is_monotonic = is_monotonic

    @property
    def _kind(self) -> str:
        return "counter" if self._is_monotonic else "gauge"

    def _samples(self, labels: dict[str, str], reading: SumReading) -> Iterator[Sample]:
        name = self.description.name
        if not self._is_monotonic:
            yield Sample(name, labels, reading.value)
            return
        yield Sample(f"{name}_total", labels, reading.value, None, _scraped(reading.latest, 1))
        if self._has_created:
            yield Sample(f"{name}_created", labels, reading.created_seconds)

    def _data(self, rows: list[tuple[dict[str, AttributeValue], SumReading]], now_ns: int) -> DataT:
        points = [
            NumberDataPoint(attributes, round(reading.created_seconds * 1e9), now_ns, reading.value)
            for attributes, reading in rows
        ]
        return Sum(points, _CUMULATIVE, self._is_monotonic)


class _Samples(Sequence[Sample]):
    """Samples of values that are read already, made when somebody looks at them.

    A page is collected on the event loop and encoded in a thread: the loop is not kept waiting for the
    samples, of which there are sixteen for each histogram.
    """

    def __init__(self, make: Callable[[], list[Sample]]) -> None:
        self._make = make
        self._made: list[Sample] | None = None

    def _all(self) -> list[Sample]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return self._all()[index]


def _scraped(exemplar: TraceExemplar | None, value: float | None = None) -> Exemplar | None:
    """Returns an exemplar for `/metrics`; a counter's value is what it was raised by."""
    if exemplar is None:
        return None
    trace_id, span_id, observed, seconds = exemplar
    labels = {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}
    return Exemplar(labels, observed if value is None else value, seconds)


def _pushed(exemplar: TraceExemplar) -> PushedExemplar:
    trace_id, span_id, value, seconds = exemplar
    return PushedExemplar({}, float(value), round(seconds * 1e9), span_id, trace_id)
