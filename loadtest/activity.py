"""Reports to Prometheus what an experiment is doing to the stack, which dashboards draw as bands."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from loadtest.pushing import END_SECONDS, pushing_provider


class Activity:
    """The faults and cells in progress, as reported; an unreachable Prometheus changes nothing.

    Updated by one thread; pushed by another.

    Args:
        prometheus_url: the address of a Prometheus with its OTLP receiver enabled.
    """

    def __init__(self, prometheus_url: str) -> None:
        self._going_on: dict[tuple[str, str], bool] = {}
        self._provider: MeterProvider = pushing_provider(prometheus_url, "loadtest")

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for (kind, name), is_going_on in tuple(self._going_on.items()):
                # A 0 ends the band at once; a series that is no longer reported would last five minutes.
                yield Observation(int(is_going_on), {"kind": kind, "name": name})

        self._provider.get_meter("loadtest").create_observable_gauge(
            "loadtest.activity", [observe], description="1 while an experiment does this to the stack"
        )

    @contextmanager
    def during(self, kind: str, name: str) -> Iterator[None]:
        """Reports this activity until the block ends.

        Args:
            kind: `fault` or `cell`.
            name: the name of the fault or cell.
        """
        self._say(kind, name, is_going_on=True)
        try:
            yield
        finally:
            self._say(kind, name, is_going_on=False)

    def close(self) -> None:
        """Pushes one last time; takes two seconds at most."""
        self._provider.shutdown(timeout_millis=END_SECONDS * 1000)

    def _say(self, kind: str, name: str, *, is_going_on: bool) -> None:
        self._going_on[kind, name] = is_going_on
        self._provider.force_flush(timeout_millis=END_SECONDS * 1000)
