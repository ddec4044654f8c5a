"""A hanging shop is charged for every request that it kept from being sent."""

import csv
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.load_runs import watched_load
from support.service_processes import Shop, wait_for

from loadtest.load.generator import Load

HANG_SECONDS = 1.0
# Room for a busy machine: the hang must be over before the load is.
LOAD_SECONDS = 8
USERS = 4


@contextmanager
def frozen(port: int) -> Iterator[None]:
    """Stops the process that listens on the port, and lets it go on afterwards."""
    (process,) = (
        child
        for child in psutil.Process().children()
        for each in child.net_connections()
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    )
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_hang_shows_in_the_percentiles(
    busy_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four requests were under way; the forty due meanwhile count too, even in Locust's own table.

    Latencies are compared with one another, since a busy machine makes other requests late too.
    """
    monkeypatch.setenv("LOCUST_CSV", str(tmp_path / "locust"))
    load = Load(users=USERS, rate=40, storefront_port=busy_shop.storefront_port)
    with watched_load(load, seconds=LOAD_SECONDS, folder=tmp_path) as watched:
        wait_for("shopping", lambda: len(watched.requests) > 20)
        with frozen(busy_shop.storefront_port):
            time.sleep(HANG_SECONDS)  # not for an event: the hang itself
        thawed = time.time()
        result = watched.finish()

    requests = watched.requests
    late = [each for each in requests if each.latency_seconds > HANG_SECONDS / 4]
    answered_late = [each for each in requests if each.ended - each.started > HANG_SECONDS / 4]
    assert len(answered_late) >= USERS
    assert len(late) > 2 * len(answered_late)
    # No request was left out: those that could not be sent in time were sent later. On a busy machine some of
    # the last seconds' requests may still be unsent at the end of the load.
    dues = [each.due for each in requests if each.due <= thawed]
    assert len(dues) == pytest.approx((thawed - min(dues)) * 40, abs=2 * USERS)
    assert result.requests == len(requests)
    latencies = sorted(each.latency_seconds * 1000 for each in requests)
    assert latencies[-len(latencies) // 100 - 1] > HANG_SECONDS * 600
    assert result.p99_ms == pytest.approx(latencies[-len(latencies) // 100 - 1], rel=0.2)
    assert result.late_p99_ms > HANG_SECONDS * 500
    with (tmp_path / "locust_stats.csv").open() as table:
        total = list(csv.DictReader(table))[-1]
    assert total["Name"] == "Aggregated"
    assert float(total["95%"]) == pytest.approx(result.p95_ms, rel=0.1)
    assert float(total["99%"]) == pytest.approx(result.p99_ms, rel=0.1)
