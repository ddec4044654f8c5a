"""The `/metrics` page: all metrics of a process, in the format that the scraper prefers."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from .accept import choose_format


def collect_everything(registry: CollectorRegistry) -> Iterator[Metric]:
    """Collects from the library's registry, then from the default one, which holds applications' metrics."""
    yield from registry.collect()
    yield from REGISTRY.collect()


class _Collected:
    """A stand-in for a registry, of which the encoders only call collect()."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """Returns the page and its content type.

    Args:
        families: the metrics on the page.
        accept: the request's `Accept` header, its lines joined by commas; exemplars exist in OpenMetrics
            only.
    """
    encode, content_type = choose_encoder(choose_format(accept))
    return encode(_Collected(families)), content_type
