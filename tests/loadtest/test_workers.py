"""Several processes put load on the shop as one."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from support.load_runs import watched_load
from support.metrics_receiver import MetricsReceiver, receive_metrics
from support.service_processes import Shop, wait_for

from loadtest.load.generator import Load
from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestRecord, RequestsFollower


@dataclass(frozen=True)
class SharedLoad:
    """A run of two workers, and what each way to follow it reported."""

    result: LoadResult
    by_worker: list[list[RequestRecord]]
    files: list[str]
    metrics: MetricsReceiver

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests of both workers."""
        return [each for requests in self.by_worker for each in requests]


@pytest.fixture(scope="module")
def shared_load(busy_shop: Shop) -> SharedLoad:
    """Load by two workers."""
    folder = busy_shop.folder / "shared"
    folder.mkdir()
    with receive_metrics() as (url, metrics):
        load = Load(
            users=10, rate=60, storefront_port=busy_shop.storefront_port, workers=2, prometheus_url=url
        )
        with watched_load(load, seconds=5, folder=folder) as watched:
            result = watched.finish()
        by_worker = [RequestsFollower(path).read_new() for path in watched.files]
    return SharedLoad(result, by_worker, [path.name for path in watched.files], metrics)


def test_rate_is_shared(shared_load: SharedLoad) -> None:
    """Both together make the requests that one would have made, from their first request on."""
    result = shared_load.result

    assert result.is_good
    assert (result.workers, result.lost_workers) == (2, 0)
    # Counted by due times while both were at work, since a busy machine starts one of them late.
    due = [sorted(each.due for each in requests) for requests in shared_load.by_worker]
    begin, end = max(each[0] for each in due), min(each[-1] for each in due)
    for first, last in ((begin, end), (begin, begin + 1)):
        count = sum(first <= moment < last for each in due for moment in each)
        # Each shopper may make one more or one less.
        assert count == pytest.approx(60 * (last - first), abs=10)


def test_every_request_is_counted(shared_load: SharedLoad) -> None:
    """This includes those after a worker's last regular report; each worker writes its own file."""
    assert shared_load.files == ["requests-1.csv", "requests-2.csv"]
    assert len(shared_load.requests) == shared_load.result.requests


def test_percentiles_are_those_of_all_requests(shared_load: SharedLoad) -> None:
    """Histograms are summed, not averaged, and keep three significant digits."""
    latencies = sorted(each.latency_seconds * 1000 for each in shared_load.requests)
    result = shared_load.result

    for share, found in ((50, result.p50_ms), (95, result.p95_ms), (99, result.p99_ms)):
        rank = max(1, round(len(latencies) * share / 100 + 0.5 - 1e-9)) - 1
        neighbours = latencies[max(0, rank - 1) : rank + 2]
        assert neighbours[0] * 0.998 <= found <= neighbours[-1] * 1.002
    assert 0 <= result.late_p99_ms <= result.p99_ms
    assert 0 < result.generator_cpu_share < 1


def test_expected_errors_add_up(shared_load: SharedLoad) -> None:
    """Errors provoked in either worker are reported."""
    provoked = sum(each.status >= 400 for each in shared_load.requests)

    assert sum(shared_load.result.expected_errors.values()) == provoked > 0


def test_every_request_is_pushed_to_prometheus_once(shared_load: SharedLoad) -> None:
    """Each worker pushes its own requests, and all of them by its last push."""
    metrics, requests = shared_load.metrics, shared_load.result.requests

    assert metrics.paths == {"/api/v1/otlp/v1/metrics"}
    assert metrics.services == {"locust"}
    assert metrics.processes("locust.requests") == 2
    assert metrics.total("locust.requests", outcome="expected") == requests
    assert metrics.total("locust.requests", outcome="failed") == 0
    assert metrics.total("locust.request.latency") == requests
    assert metrics.total("locust.start.delay") == requests
    orders = sum((each.method, each.name) == ("POST", "/v1/orders") for each in shared_load.requests)
    assert metrics.total("locust.requests", method="POST", name="/v1/orders") == orders > 0
    bounds = metrics.bounds["locust.request.latency"]
    assert (bounds[0], bounds[-1]) == (0.001, 10)


def test_one_process_pushes_the_crowd_to_prometheus(shared_load: SharedLoad) -> None:
    """Nothing counts twice, and after the run the numbers are zero."""
    metrics = shared_load.metrics

    for instrument, value in (("locust.users", 10), ("locust.intended_rate", 60)):
        assert metrics.processes(instrument) == 1
        assert value in metrics.history[instrument]
        assert metrics.history[instrument][-1] == 0


def test_dead_worker_is_reported(busy_shop: Shop, tmp_path: Path) -> None:
    """Its unreported requests are not counted, and the run is not good."""
    load = Load(users=4, rate=20, storefront_port=busy_shop.storefront_port, workers=2)
    with watched_load(load, seconds=2, folder=tmp_path) as watched:
        wait_for("both to shop", lambda: len(watched.files) == 2 and len(watched.requests) > 5)
        psutil.Process(watched.generator.process.pid).children()[0].kill()
        result = watched.finish()

    assert (result.workers, result.lost_workers) == (2, 1)
    assert not result.is_good
