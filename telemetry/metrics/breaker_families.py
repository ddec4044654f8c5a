"""The metric families of a circuit breaker."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..export.breaker import BreakerSnapshot, BreakerState
from . import names


def breaker_families(
    snapshot: BreakerSnapshot, *, state: str, transitions: str, whose: str
) -> Iterator[Metric]:
    """Yields the state and the changes of a breaker.

    Args:
        snapshot: one reading.
        state: the name of the first.
        transitions: the name of the other.
        whose: for the descriptions.
    """
    now = GaugeMetricFamily(state, f"The state of {whose}: 1 for the present one.", labels=[names.STATE])
    for each in BreakerState:
        now.add_metric([each.value], float(snapshot.state is each))
    yield now
    changes = CounterMetricFamily(
        transitions, f"Changes of the state of {whose}.", labels=[names.FROM, names.TO]
    )
    for (old, new), count in snapshot.transitions.items():
        changes.add_metric([old.value, new.value], count)
    yield changes
