"""Measures one service under load: CPU a span, exports, freshness, memory."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from loadtest.watch import Reading
from telemetry.metrics import names

_BUSY = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True, slots=True)
class Exports:
    """What a service's /metrics say of its exports, since its start."""

    bounds_seconds: tuple[float, ...]
    counts: tuple[float, ...]
    """Exports that took no longer than each bound."""
    seconds: float
    exports: float
    spans: float
    payload_bytes: float

    def since(self, earlier: "Exports") -> "Exports":
        """What came after an earlier reading of the same process."""
        before = earlier.counts or (0.0,) * len(self.counts)
        return Exports(
            self.bounds_seconds,
            tuple(now - then for now, then in zip(self.counts, before, strict=True)),
            self.seconds - earlier.seconds,
            self.exports - earlier.exports,
            self.spans - earlier.spans,
            self.payload_bytes - earlier.payload_bytes,
        )

    def quantile_seconds(self, share: float) -> float:
        """As `histogram_quantile` has it: even within a bucket; NaN of none."""
        if not self.exports:
            return float("nan")
        finite = [(bound, count) for bound, count in zip(self.bounds_seconds, self.counts, strict=True)]
        bounds = [0.0, *(bound for bound, _ in finite if np.isfinite(bound))]
        counts = [0.0, *(count for bound, count in finite if np.isfinite(bound))]
        rank = share * self.exports
        # The bucket in which the rank is reached, not a later one in which there is nothing.
        end = int(np.searchsorted(counts, rank))
        bucket = slice(max(0, end - 1), end + 1)
        return float(np.interp(rank, counts[bucket], bounds[bucket]))


def read_exports(client: httpx.Client) -> Exports:
    """Reads a service's /metrics; the sums of all its workers."""
    buckets: dict[float, float] = {}
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
            if sample.name == f"{names.EXPORT_DURATION_SECONDS}_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    ordered = sorted(buckets.items())
    return Exports(
        bounds_seconds=tuple(bound for bound, _ in ordered),
        counts=tuple(count for _, count in ordered),
        seconds=sums.get(f"{names.EXPORT_DURATION_SECONDS}_sum", 0.0),
        exports=sums.get(f"{names.EXPORT_DURATION_SECONDS}_count", 0.0),
        spans=sums.get(f"{names.EXPORT_BATCH_SPANS}_sum", 0.0),
        payload_bytes=sums.get(f"{names.EXPORT_BYTES}_total", 0.0),
    )


class CpuMeter:
    """CPU time of one process, and of everything that is none of ours, since it was made.

    Args:
        measured: the process that is measured, its children included.
        ours: the other processes of the experiment, their children included.
    """

    def __init__(self, measured: int, ours: Collection[int]) -> None:
        self._measured = measured
        self._ours = {measured, *ours}
        self._started = time.monotonic()
        self._measured_before = _cpu_seconds([measured])
        self._ours_before = _cpu_seconds(self._ours)
        self._machine_before = _machine_seconds()

    def measured_seconds(self) -> float:
        """CPU seconds of the measured process."""
        return sum(_spent(self._measured_before, _cpu_seconds([self._measured])))

    def other_cores(self) -> float:
        """What the rest of the machine used, in cores, on average."""
        ours = sum(_spent(self._ours_before, _cpu_seconds(self._ours)))
        machine = _machine_seconds() - self._machine_before
        return max(0.0, machine - ours) / (time.monotonic() - self._started)


def freshness_seconds(readings: Sequence[Reading], shares: Sequence[float]) -> list[float]:
    """Percentiles (0 to 100) of the time from a span's end to its acceptance, from a service's readings.

    The k-th span ended when `ended` reached k, and was accepted when `delivered` did, for spans leave in
    the order in which they came. Acceptance is seen at the next reading, so it is too late by at most the
    time between two. NaN when nothing was delivered.
    """
    times = np.array([reading.at for reading in readings])
    ended = np.array([reading.ended for reading in readings], dtype=float)
    delivered = np.array([reading.delivered for reading in readings], dtype=float)
    first, last = max(ended[0], delivered[0]) + 1, min(ended[-1], delivered[-1])
    if last <= first:
        return [float("nan")] * len(shares)
    counts = np.linspace(first, last, 1_000)
    # Spans end one by one, and are accepted a batch at a time: a slope here, a step there.
    values, reached = np.unique(ended, return_index=True)
    ages = times[np.searchsorted(delivered, counts)] - np.interp(counts, values, times[reached])
    return [float(each) for each in np.percentile(np.maximum(ages, 0.0), shares)]


def peak_per_second(readings: Sequence[Reading]) -> float:
    """The most spans that ended within one second."""
    times = np.array([reading.at for reading in readings])
    ended = np.array([reading.ended for reading in readings], dtype=float)
    starts = np.arange(times[0], max(times[-1] - 1, times[0] + 1e-6), 0.1)
    return float(np.max(np.interp(starts + 1, times, ended) - np.interp(starts, times, ended)))


def _cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    found: dict[int, float] = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                times = each.cpu_times()
                found[each.pid] = times.user + times.system
        except psutil.Error:
            continue  # it has ended meanwhile
    return found


def _spent(before: Mapping[int, float], after: Mapping[int, float]) -> list[float]:
    return [seconds - before.get(pid, 0.0) for pid, seconds in after.items()]


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in _BUSY)
