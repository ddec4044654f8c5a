"""Ledger, breaker, limits and CPU time of an export pipeline, read at each scrape."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..export.ledger import DropReason
from ..export.pipeline import ExportPipeline
from ..export.push.state import PushState
from . import names
from .breaker_families import breaker_families


class PipelineCollector(Collector):
    """A collector of a pipeline's ledger, breaker, limits and CPU, each as one consistent reading.

    Args:
        pipeline: read at each scrape.
        sampling_ratio: returns the ratio in effect; None if there is none.
        push: how pushes of metrics go; None if there are none.
    """

    def __init__(
        self,
        pipeline: ExportPipeline,
        sampling_ratio: Callable[[], float | None],
        push: PushState | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._push = push
        self._sampling_ratio = sampling_ratio

    def collect(self) -> Iterable[Metric]:
        """Yields the current metric families."""
        config = self._pipeline.config
        yield from self._ledger()
        yield from self._breakers()
        yield GaugeMetricFamily(
            names.QUEUE_CAPACITY, "The most spans kept in memory.", value=config.max_queue_size
        )
        yield GaugeMetricFamily(
            names.BATCH_SIZE_LIMIT, "The most spans in one export.", value=self._pipeline.batching.size
        )
        yield GaugeMetricFamily(
            names.BUFFER_BYTES, "Encoded batches in memory.", value=self._pipeline.buffered_bytes
        )
        yield GaugeMetricFamily(
            names.BUFFER_LIMIT_BYTES,
            "Limit of the encoded batches in memory, in bytes.",
            value=self._pipeline.limits.buffer_bytes,
        )
        spool = self._pipeline.spool_status
        yield GaugeMetricFamily(
            names.SPOOL_BYTES, "Encoded batches on disk.", value=0 if spool is None else spool.size_bytes
        )
        yield GaugeMetricFamily(
            names.SPOOL_LIMIT_BYTES,
            "Limit of the spool on disk, in bytes.",
            value=0 if spool is None else config.spool_max_bytes,
        )
        yield self._cpu()
        ratio = self._sampling_ratio()
        if ratio is not None:
            yield GaugeMetricFamily(names.SAMPLING_RATIO, "The share of new traces kept.", value=ratio)

    def describe(self) -> Iterable[Metric]:
        """Returns nothing, so that the registry does not collect while registering."""
        return ()

    def _ledger(self) -> Iterable[Metric]:
        reading = self._pipeline.ledger.read()
        yield CounterMetricFamily(names.SPANS_ENDED, "Sampled spans that ended.", value=reading.ended)
        yield CounterMetricFamily(
            names.SPANS_ADOPTED, "Spans inherited from an earlier process's spool.", value=reading.adopted
        )
        spans = CounterMetricFamily(names.SPANS, "Finished spans, by outcome.", labels=[names.OUTCOME])
        spans.add_metric(["delivered"], reading.delivered)
        spans.add_metric(["rejected"], reading.rejected)
        for reason in DropReason:
            spans.add_metric([f"dropped_{reason}"], reading.dropped.get(reason, 0))
        yield spans
        pending = GaugeMetricFamily(names.SPANS_PENDING, "Pending spans, by place.", labels=[names.PLACE])
        pending.add_metric(["memory"], reading.in_memory)
        pending.add_metric(["spool"], reading.spooled)
        yield pending

    def _cpu(self) -> Metric:
        seconds = CounterMetricFamily(
            names.CPU_SECONDS,
            "CPU time of the library's own threads and of gRPC's; what requests spend is not in it.",
            labels=[names.STAGE],
        )
        for stage, used in self._pipeline.cpu.read().items():
            seconds.add_metric([stage], used)
        return seconds

    def _breakers(self) -> Iterable[Metric]:
        yield from breaker_families(
            self._pipeline.breaker.snapshot(),
            state=names.BREAKER_STATE,
            transitions=names.BREAKER_TRANSITIONS,
            whose="the circuit breaker",
        )
        if self._push is not None and self._push.has_own_breaker:
            yield from breaker_families(
                self._push.breaker.snapshot(),
                state=names.PUSH_BREAKER_STATE,
                transitions=names.PUSH_BREAKER_TRANSITIONS,
                whose="the circuit breaker of pushed metrics, which go to another server",
            )
