"""Merged metrics have every sample once, under its worker's label, in formats that parse."""

import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client import generate_latest as plain_text
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from prometheus_client.samples import Exemplar
from support.worker_metrics import Join, collect, workers_seen

from telemetry.metrics.merge import from_json, merge, to_json


def as_text(families: list[Metric], encode: Callable[..., bytes] = openmetrics_text) -> str:
    """Returns the scraped text, in OpenMetrics format by default."""

    class Registry:
        def collect(self) -> list[Metric]:
            return families

    return encode(Registry()).decode()


def test_own_label_worker_is_kept_as_exported(joined: Join) -> None:
    """Conflicting labels are renamed as Prometheus does."""
    registry = CollectorRegistry()
    Gauge("load", "Of a worker.", ["worker"], registry=registry).labels("mine").set(5)
    (load,) = [family for family in collect(joined(registry)) if family.name == "load"]
    assert [sample.labels for sample in load.samples] == [{"exported_worker": "mine", "worker": "0"}]


def test_disagreement_about_a_type_leaves_the_later_one_out_and_is_logged_once(
    joined: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """This happens during a rollout; an exposition with two types for one name cannot be parsed."""
    counters, gauges = CollectorRegistry(), CollectorRegistry()
    Counter("x", "", registry=counters)
    Gauge("x", "", registry=gauges)
    asked = joined(counters)
    joined(gauges)
    for _ in range(2):
        families = {family.name: family for family in collect(asked)}
        assert families["x"].type == "counter"
        assert {sample.labels["worker"] for sample in families["x"].samples} == {"0"}
        assert workers_seen(list(families.values())) == {"answered": 2, "silent": 0}
    assert [record.getMessage() for record in caplog.records] == [
        "worker 1 has x as a gauge, others as a counter"
    ]


def test_value_of_another_type_of_number_reaches_the_sibling(joined: Join) -> None:
    """An application's collector may return any number that `float()` accepts."""
    family = Metric("price", "", "gauge")
    family.add_sample("price", {}, Decimal("1.5"))  # type: ignore[arg-type]
    family.add_sample("price", {"of": "nothing"}, math.nan)
    exact = joined()
    exact._collect = lambda: [family]
    (seen,) = [each for each in collect(joined()) if each.name == "price"]
    assert [repr(sample.value) for sample in seen.samples] == ["1.5", "nan"]


LABELS = st.dictionaries(st.sampled_from(["a", "b", "worker"]), st.text(max_size=5), max_size=2)
EXEMPLARS = st.none() | st.builds(
    Exemplar,
    st.dictionaries(st.just("trace_id"), st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1),
    st.floats(allow_nan=False),
    st.none() | st.integers(1, 2**31),
)
SAMPLES = st.lists(
    st.tuples(LABELS, st.floats(min_value=0), EXEMPLARS),
    max_size=3,
    unique_by=lambda each: tuple(sorted(each[0].items())),
)
EXPOSITIONS = st.lists(
    st.dictionaries(st.sampled_from(["one", "two"]), SAMPLES, max_size=2), min_size=1, max_size=4
)


@given(EXPOSITIONS)
def test_merging_keeps_every_sample_exactly_once_and_can_be_parsed(
    expositions: list[dict[str, list[tuple[dict[str, str], float, Exemplar | None]]]],
) -> None:
    """Exemplars are kept too, in both formats and through JSON, whatever the labels are."""

    def family(name: str, samples: list[tuple[dict[str, str], float, Exemplar | None]]) -> Metric:
        metric = Metric(name, "help", "counter")
        for labels, value, exemplar in samples:
            metric.add_sample(f"{name}_total", labels, value, exemplar=exemplar)
        return metric

    sent = [[family(name, samples) for name, samples in each.items()] for each in expositions]
    received = [from_json(to_json(each)) for each in sent]
    merged, disagreements = merge(dict(enumerate(received)))
    assert not disagreements
    expected = [
        (f"{name}_total", str(slot), value, *(labels.get(each) for each in ("worker", "a", "b")), exemplar)
        for slot, each in enumerate(expositions)
        for name, samples in each.items()
        for labels, value, exemplar in samples
    ]

    def rows(families: Iterable[Metric]) -> list[Any]:
        return [
            (
                sample.name,
                sample.labels["worker"],
                sample.value,
                *(sample.labels.get(name) for name in ("exported_worker", "a", "b")),
                sample.exemplar and sample.exemplar._replace(timestamp=_whole(sample.exemplar.timestamp)),
            )
            for each in families
            for sample in each.samples
        ]

    def in_order(samples: Iterable[Any], without_exemplars: bool = False) -> list[str]:
        return sorted(repr(each[:-1] if without_exemplars else each) for each in samples)

    assert in_order(rows(merged)) == in_order(expected)
    assert in_order(rows(text_string_to_metric_families(as_text(merged)))) == in_order(expected)
    plain = in_order(rows(parse_plain_text(as_text(merged, plain_text))), without_exemplars=True)
    assert plain == in_order(expected, without_exemplars=True)


def _whole(timestamp: Any) -> int | None:
    return None if timestamp is None else int(float(timestamp))
