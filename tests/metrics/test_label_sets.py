"""Label sets are bounded: in number, in memory, and in what is logged about it."""

import logging
import threading
import time

import pytest
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry
from support.forking import assert_child_succeeds

from telemetry.metrics import names
from telemetry.metrics.instruments import Metrics
from telemetry.metrics.label_sets import LabelSets
from telemetry.metrics.series import SumSeries


def label_sets(limit: int) -> LabelSets[SumSeries]:
    """Returns label sets of a method, which is bounded, and a route, which is not."""
    return LabelSets("jobs", ("method", "route"), {"route"}, limit, SumSeries)


def sets_of(registry: CollectorRegistry, family: str) -> list[dict[str, str]]:
    """Returns the label sets of a counter or histogram on the page."""
    return [
        sample.labels
        for each in registry.collect()
        for sample in each.samples
        if sample.name in {f"{family}_total", f"{family}_count"} and each.name == family
    ]


def total_of(registry: CollectorRegistry, name: str) -> float:
    """Returns the sum of all series of a name."""
    return sum(s.value for each in registry.collect() for s in each.samples if s.name == name)


def test_label_set_is_bound_once() -> None:
    """Every record of it finds the same row."""
    found = label_sets(10)
    row = found.bind(("GET", "/a"))
    assert found.rows[("GET", "/a")] is row
    assert found.bind(("GET", "/a")) is row
    assert found.bind(("GET", "/b")) is not row


def test_beyond_the_limit_what_varies_becomes_other(caplog: pytest.LogCaptureFixture) -> None:
    """What is bounded stays, which is told once; what was bound before stays, too."""
    found = label_sets(100)
    first = found.bind(("GET", "/0"))
    for number in range(1, 200):
        found.bind((("GET", "PUT")[number % 2], f"/{number}"))
    assert len(found.rows) == 97
    assert {key for key in found.rows if key[1] == names.OTHER} == {("GET", "other"), ("PUT", "other")}
    assert found.bind(("GET", "/0")) is first
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        "jobs has as many label sets as TELEMETRY_MAX_LABEL_SETS=100 allows"
    )
    assert record.getMessage().endswith("one of route takes too many values")


def test_when_other_is_full_everything_is_other() -> None:
    """The limit holds even if what should be bounded is not."""
    found = label_sets(20)
    for number in range(100):
        found.bind((f"M{number}", f"/{number}"))
    assert len(found.rows) == 20
    assert list(found.rows)[-1] == ("other", "other")


@pytest.mark.parametrize("limit", [1, 2, 3, 19, 20, 21, 2_000])
def test_the_limit_is_never_exceeded(limit: int) -> None:
    """Whatever it is."""
    found = label_sets(limit)
    for number in range(3_000):
        found.bind((f"M{number % 7}", f"/{number}"))
    assert limit * 0.9 - 1 < len(found.rows) <= limit
    assert ("other", "other") in found.rows or ("M1", "other") in found.rows


def test_missing_label_stays_missing() -> None:
    """A request without route does not become one of another route."""
    found = label_sets(20)
    for number in range(100):
        found.bind(("GET", f"/{number}"))
    found.bind(("GET", None)).add(7)
    assert found.bind(("GET", names.OTHER)).read().value == 0


def test_racing_threads_neither_exceed_it_nor_tell_twice(caplog: pytest.LogCaptureFixture) -> None:
    """All of them bind new label sets at once, and no count is lost."""

    def make() -> SumSeries:
        time.sleep(0)  # lets another thread run, where a race would have its effect
        return SumSeries()

    found = LabelSets("jobs", ("method", "route"), {"route"}, 200, make)
    start = threading.Barrier(8)

    def bind(thread: int) -> None:
        start.wait(10)
        for number in range(500):
            found.bind(("GET", f"/{number if number % 2 else (thread, number)}")).add(1)

    threads = [threading.Thread(target=bind, args=(thread,)) for thread in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(found.rows) <= 200
    assert sum(row.read().value for _, row in found.snapshot()) == 8 * 500
    assert len(caplog.records) == 1


def test_a_hundred_thousand_routes_errors_and_functions_stay_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each metric has at most its limit of label sets, and everything is counted."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, http_metrics="both", max_label_sets=100)
    assert metrics.requests.standard is not None
    for number in range(20_000):
        scope = {"type": "http", "method": "GET", "scheme": f"s{number}"}
        route, error = f"/{number}", f"E{number}"
        metrics.requests.standard.begin(scope, "GET").end(route, 500, error, 0.1, INVALID_SPAN)
        metrics.requests.record("GET", route, 500, 100.0, INVALID_SPAN)
        metrics.requests.record_error("GET", route, 500, error, INVALID_SPAN)
        metrics.record_function(route, "error", 1.0)
        metrics.record_function_error(route, error)
    for family in (
        *(names.REQUEST_COUNT, names.REQUEST_LATENCY_MS, names.ERROR_COUNT),
        *(names.FUNCTION_DURATION_MS, names.FUNCTION_ERROR_COUNT),
        *(names.HTTP_DURATION_SECONDS, names.HTTP_REQUEST_BODY_BYTES, names.HTTP_RESPONSE_BODY_BYTES),
    ):
        assert 90 < len(sets_of(registry, family)) <= 100, family
    assert total_of(registry, f"{names.REQUEST_COUNT}_total") == 20_000
    assert total_of(registry, f"{names.ERROR_COUNT}_total") == 20_000
    assert total_of(registry, f"{names.HTTP_DURATION_SECONDS}_count") == 20_000
    assert total_of(registry, f"{names.FUNCTION_DURATION_MS}_count") == 20_000
    assert total_of(registry, names.HTTP_ACTIVE_REQUESTS) == 0
    other = [labels for labels in sets_of(registry, names.ERROR_COUNT) if labels["route"] == "other"]
    assert other == [{"method": "GET", "route": "other", "status_code": "500", "error_type": "other"}]
    assert len(caplog.records) == 6, "one for each metric that ran over"


def test_forked_child_counts_its_own() -> None:
    """What the parent counted is not counted twice, and a lock that a thread held there is free."""
    found = label_sets(10)
    found.bind(("GET", "/a")).add(5)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with found._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)

    def child() -> bool:
        was_empty = found.snapshot() == []
        found.bind(("GET", "/a")).add(1)
        return was_empty and found.bind(("GET", "/a")).read().value == 1

    try:
        assert_child_succeeds(child)
    finally:
        done.set()
        thread.join()
    assert found.bind(("GET", "/a")).read().value == 5
