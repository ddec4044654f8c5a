"""The page `/metrics`: everything a process measures, in the format that a scraper prefers."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder


def collect_everything(registry: CollectorRegistry) -> Iterator[Metric]:
    """The library's registry, then the process's default one, in which applications keep their own."""
    yield from registry.collect()
    yield from REGISTRY.collect()


class _Collected:
    """What the encoders take for a registry: they ask it for nothing but collect()."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """The page, and its content type.

    Args:
        families: what is on it.
        accept: the request's `Accept`; exemplars exist in OpenMetrics only.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Collected(families)), content_type
