"""What telemetry adds to a request's own thread, as `make bench-request` measured it.

A running service cannot measure this: a clock at each span would cost as much as the span. The figures are
those of the machine that the committed result names, which is said wherever they are shown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import RESULTS

_REQUEST = "added CPU a request, in process, ours"
_IN_THREAD = "decorated function, sampled, caller's thread"
_WITH_SENDING = "decorated function, sampled, sending included"


@dataclass(frozen=True, slots=True)
class RequestCost:
    """CPU microseconds that telemetry adds in the request's thread; what is sent later is not in it."""

    sampled_us: float
    """A request with its server span."""
    unsampled_us: float
    span_us: float
    """Each further sampled span."""
    origin: str
    """The machine and the day."""

    def seconds(self, *, requests: float, spans: float, sampling_ratio: float | None) -> float:
        """Returns the CPU seconds for so many requests.

        Args:
            requests: their number.
            spans: the sampled spans that ended meanwhile, those of the requests included.
            sampling_ratio: the share of requests that is sampled; None if unknown: as many as there are spans
                for.
        """
        sampled = min(requests, spans) if sampling_ratio is None else requests * sampling_ratio
        used = sampled * self.sampled_us + (requests - sampled) * self.unsampled_us
        return (used + max(0.0, spans - sampled) * self.span_us) / 1e6

    def __str__(self) -> str:
        """Returns the figures with their origin."""
        return (
            f"{self.sampled_us:.0f} µs a sampled request, {self.unsampled_us:.0f} µs an unsampled one, "
            f"{self.span_us:.0f} µs each further span ({self.origin})"
        )


def read_request_cost(file: Path = RESULTS / "request.json") -> RequestCost:
    """Reads the figures from the benchmark's committed result.

    Raises:
        OSError: there is no such file.
        ValueError: it lacks a figure; the message names it.
    """
    result = json.loads(file.read_text())
    medians = {amount["name"]: float(amount["median"]) for amount in result["amounts"]}
    # The request's figure holds its span's way out, as does one of the two of a decorated function.
    sending_us = _of(medians, _WITH_SENDING, file) - _of(medians, _IN_THREAD, file)
    return RequestCost(
        sampled_us=max(0.0, _of(medians, _REQUEST, file) - sending_us),
        unsampled_us=max(0.0, _of(medians, f"{_REQUEST} unsampled", file)),
        span_us=_of(medians, _IN_THREAD, file),
        origin=f"{result['machine']['cpu']}, {result['date']}",
    )


def _of(medians: Mapping[str, float], name: str, file: Path) -> float:
    if name not in medians:
        raise ValueError(f"{file} has no {name!r}: run `make bench-request`")
    return medians[name]
