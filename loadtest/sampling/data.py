"""Data of a sampling run: the samplers' settings, and everything that was observed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.load.requests_file import RequestRecord
from loadtest.traces import StoredTraces


@dataclass(frozen=True, slots=True)
class ServerCalls:
    """Calls that the Collector's span metrics counted for the storefront, by span name."""

    total: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HeadRun:
    """One ratio of the head sampler in the services."""

    ratio: float
    requests: Sequence[RequestRecord]
    stored: StoredTraces
    """The lookup of the sampled traces."""
    strays: int
    """Unsampled traces that are in Jaeger, of `strays_asked`."""
    strays_asked: int
    thresholds: frozenset[str]
    """Every `ot` member of a tracestate in Jaeger."""
    calls: ServerCalls
    refused: float
    """Spans that the Collector refused meanwhile."""


@dataclass(frozen=True, slots=True)
class RateRun:
    """The rate-limited sampler, under bursts."""

    per_second: float
    requests: Sequence[RequestRecord]
    stored: StoredTraces


@dataclass(frozen=True, slots=True)
class TailRun:
    """The Collector's tail sampling, with a share, some errors and some slow requests."""

    percentage: float
    slow_seconds: float
    requests: Sequence[RequestRecord]
    must_keep: StoredTraces
    """The lookup of the traces with an error and of the slow ones."""
    kept_of_the_rest: int
    rest: int
    calls: ServerCalls
    refused: float


@dataclass(frozen=True, slots=True)
class SamplingRun:
    """The data of a whole run."""

    runtime: str
    rate: float
    heads: Sequence[HeadRun]
    limited: RateRun
    tail: TailRun
    excluded_calls: float
    """Server spans of health and metrics paths."""
    excluded_asked: int
    configuration: Mapping[str, str]
