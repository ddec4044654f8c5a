"""Measures one service under load: its telemetry's CPU, exports, freshness and the peak of ended spans."""

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
    """A service's exports since its start, and the CPU that they cost, from its /metrics."""

    bounds_seconds: tuple[float, ...]
    counts: tuple[float, ...]
    """Exports that took no longer than each bound."""
    seconds: float
    exports: float
    spans: float
    payload_bytes: float
    cpu_seconds: Mapping[str, float]
    """Of telemetry's own threads, by stage; without those that have used none."""

    def since(self, earlier: "Exports") -> "Exports":
        """Returns the exports after an earlier reading of the same process."""
        before = earlier.counts or (0.0,) * len(self.counts)
        return Exports(
            self.bounds_seconds,
            tuple(now - then for now, then in zip(self.counts, before, strict=True)),
            self.seconds - earlier.seconds,
            self.exports - earlier.exports,
            self.spans - earlier.spans,
            self.payload_bytes - earlier.payload_bytes,
            {stage: used - earlier.cpu_seconds.get(stage, 0.0) for stage, used in self.cpu_seconds.items()},
        )

    def cpu_us_per_span(self, *stages: str) -> float:
        """Returns the CPU microseconds of these stages for each span; NaN without spans."""
        if not self.spans:
            return float("nan")
        return sum(self.cpu_seconds.get(stage, 0.0) for stage in stages) / self.spans * 1e6

    def quantile_seconds(self, share: float) -> float:
        """Returns a quantile as `histogram_quantile` does, linear within a bucket; NaN without exports."""
        if not self.exports:
            return float("nan")
        finite = [(bound, count) for bound, count in zip(self.bounds_seconds, self.counts, strict=True)]
        bounds = [0.0, *(bound for bound, _ in finite if np.isfinite(bound))]
        counts = [0.0, *(count for bound, count in finite if np.isfinite(bound))]
        rank = share * self.exports
        # The bucket in which the rank is reached, not a later one that is empty.
        end = int(np.searchsorted(counts, rank))
        bucket = slice(max(0, end - 1), end + 1)
        return float(np.interp(rank, counts[bucket], bounds[bucket]))


def read_exports(client: httpx.Client) -> Exports:
    """Reads a service's /metrics, summed over all its workers."""
    buckets: dict[float, float] = {}
    sums: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
            if sample.name == f"{names.EXPORT_DURATION_SECONDS}_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
            elif sample.name == f"{names.CPU_SECONDS}_total":
                stage = sample.labels[names.STAGE]
                cpu_seconds[stage] = cpu_seconds.get(stage, 0.0) + sample.value
    ordered = sorted(buckets.items())
    return Exports(
        bounds_seconds=tuple(bound for bound, _ in ordered),
        counts=tuple(count for _, count in ordered),
        seconds=sums.get(f"{names.EXPORT_DURATION_SECONDS}_sum", 0.0),
        exports=sums.get(f"{names.EXPORT_DURATION_SECONDS}_count", 0.0),
        spans=sums.get(f"{names.EXPORT_BATCH_SPANS}_sum", 0.0),
        payload_bytes=sums.get(f"{names.EXPORT_BYTES}_total", 0.0),
        cpu_seconds=cpu_seconds,
    )


class CpuMeter:
    """The CPU time of one process, and of all unrelated processes, since the meter was created.

    Args:
        measured: the process to measure, including its children.
        ours: the other processes of the experiment, including their children.
    """

    def __init__(self, measured: int, ours: Collection[int]) -> None:
        self._measured = measured
        self._ours = {measured, *ours}
        self._started = time.monotonic()
        self._measured_before = _cpu_seconds([measured])
        self._ours_before = _cpu_seconds(self._ours)
        self._machine_before = _machine_seconds()

    def measured_seconds(self) -> float:
        """Returns the CPU seconds of the measured process."""
        return sum(_spent(self._measured_before, _cpu_seconds([self._measured])))

    def other_cores(self) -> float:
        """Returns the average CPU use of all unrelated processes, in cores."""
        ours = sum(_spent(self._ours_before, _cpu_seconds(self._ours)))
        machine = _machine_seconds() - self._machine_before
        return max(0.0, machine - ours) / (time.monotonic() - self._started)


def freshness_seconds(readings: Sequence[Reading], shares: Sequence[float]) -> list[float]:
    """Returns percentiles (0 to 100) of the time from a span's end to its acceptance, from the readings.

    The k-th span ended when `ended` reached k, and was accepted when `delivered` did, because spans leave
    in the order in which they came. Acceptance is seen at the next reading, so it appears late by at most
    the time between two. NaN if nothing was delivered.
    """
    times = np.array([reading.at for reading in readings])
    ended = np.array([reading.ended for reading in readings], dtype=float)
    delivered = np.array([reading.delivered for reading in readings], dtype=float)
    first, last = max(ended[0], delivered[0]) + 1, min(ended[-1], delivered[-1])
    if last <= first:
        return [float("nan")] * len(shares)
    counts = np.linspace(first, last, 1_000)
    # Spans end one by one, a slope, and are accepted a batch at a time, a step.
    values, reached = np.unique(ended, return_index=True)
    ages = times[np.searchsorted(delivered, counts)] - np.interp(counts, values, times[reached])
    return [float(each) for each in np.percentile(np.maximum(ages, 0.0), shares)]


def peak_per_second(readings: Sequence[Reading]) -> float:
    """Returns the most spans that ended within one second."""
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
