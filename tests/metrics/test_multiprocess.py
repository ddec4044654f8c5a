"""Workers that share a folder, on real sockets: any of them answers for all."""

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric
from support.worker_metrics import Join, collect, counting, jobs_by_worker, workers_seen

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.metrics import multiprocess, names
from telemetry.metrics.multiprocess import WorkerMetrics
from telemetry.telemetry import setup_telemetry


def test_any_worker_answers_for_all(joined: Join) -> None:
    """Each sample appears once, under its worker's label, with its exemplar."""
    three = [joined(counting(value)) for value in (1, 2, 3)]
    for worker in three:
        families = collect(worker)
        assert jobs_by_worker(families) == {"0": 1, "1": 2, "2": 3}
        assert workers_seen(families) == {"answered": 3, "silent": 0}
        exemplars = [s.exemplar.labels for f in families for s in f.samples if s.exemplar]
        assert exemplars == [{"trace_id": "ab" * 16}] * 3


def test_worker_alone_answers_for_itself(joined: Join) -> None:
    """A single worker has a label too."""
    assert jobs_by_worker(collect(joined())) == {"0": 1}


def test_worker_that_left_leaves_nothing_and_its_slot_is_taken_again(
    joined: Join,
) -> None:
    """A new worker takes the lowest free slot, so that there are few label values."""
    first, second = joined(counting(1)), joined(counting(2))
    first.stop()
    assert jobs_by_worker(collect(second)) == {"1": 2}
    third = joined(counting(3))
    assert jobs_by_worker(collect(second)) == {"0": 3, "1": 2}
    first.start()
    assert jobs_by_worker(collect(third)) == {"0": 3, "1": 2, "2": 1}


def test_starting_twice_takes_one_slot(joined: Join) -> None:
    """The app's lifespan and its first scrape both start the worker."""
    worker = joined()
    worker.start()
    assert jobs_by_worker(collect(worker)) == {"0": 1}


def test_other_groups_are_left_alone(joined: Join) -> None:
    """Workers of another configuration are not merged."""
    mine, other, another = joined(counting(1)), joined(counting(2), group="h"), joined(counting(3), group="h")
    assert jobs_by_worker(collect(mine)) == {"0": 1}
    for worker in (other, another):
        assert jobs_by_worker(collect(worker)) == {"0": 2, "1": 3}


def test_folder_and_socket_are_the_users_own(joined: Join, folder: Path) -> None:
    """Other users cannot read the metrics."""
    joined()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "g-0.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[",
        b"[" * 100_000,
        b"\xff",
        b'{"a": 1}',
        b'[["x"]]',
        b'[["x", "", "nonsense", "", []]]',
        b'[["x", "", "gauge", "", [["x", 5, 1, null, null]]]]',
        b'[["x", "", "gauge", "", [["x", {}, "much", null, null]]]]',
        b'[["x", "", "counter", "", [["x_total", {}, 1, null, [5, 1, null]]]]]',
    ],
    ids=[
        *("nothing", "cut off", "too deep", "no text", "no list", "no family", "no type"),
        *("no labels", "no number", "no exemplar"),
    ],
)
def test_sibling_that_answers_nonsense_is_silent(
    answer: bytes, joined: Join, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sibling is counted and logged once, and the other workers' metrics are there."""
    worker = joined()
    with impostor(folder / "g-7.sock", answer):
        for _ in range(2):
            families = collect(worker)
            assert jobs_by_worker(families) == {"0": 1}
            assert workers_seen(families) == {"answered": 1, "silent": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "worker 7 does not answer: its metrics are missing from /metrics"
    ]


class impostor:  # noqa: N801 - a context manager
    """Serves a worker's socket and sends every caller the same bytes."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._kept: list[socket.socket] = []

    def __enter__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._answer is None:
                self._kept.append(connection)
                continue
            with connection:
                connection.sendall(self._answer)

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._kept:
            connection.close()


def test_silent_siblings_cost_the_deadline_once_all_together(
    joined: Join, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Siblings are read concurrently, so thirty silent ones do not take thirty deadlines."""
    monkeypatch.setattr(multiprocess, "ANSWER_SECONDS", 0.5)
    first, second = joined(counting(1)), joined(counting(2))
    held = [impostor(folder / f"g-{slot}.sock", None) for slot in range(10, 40)]
    for each in held:
        each.__enter__()
    with anyio.from_thread.start_blocking_portal() as portal:
        families = portal.start_task_soon(first.collect_all).result(timeout=10)
    for each in held:
        each.__exit__()
    assert jobs_by_worker(families) == {"0": 1, "1": 2}
    assert workers_seen(families) == {"answered": 2, "silent": 30}
    second.stop()


def test_endless_answer_is_cut_off(joined: Join, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long answers cannot exhaust memory."""
    monkeypatch.setattr(multiprocess, "_MOST_BYTES", 1000)
    worker = joined()
    with impostor(folder / "g-3.sock", b" " * 2000 + b"[]"):
        assert workers_seen(collect(worker)) == {"answered": 1, "silent": 1}
    with impostor(folder / "g-4.sock", b" " * 900 + b"[]"):
        assert workers_seen(collect(worker)) == {"answered": 2, "silent": 0}


def test_reader_that_never_reads_holds_nobody_up(joined: Join, folder: Path) -> None:
    """The worker gives up on a stuck reader in time for the next one."""
    huge = CollectorRegistry()
    Counter("jobs", "x" * 2_000_000, ["queue"], registry=huge).labels("mail").inc(2)
    asked, other = joined(counting(1)), joined(huge)
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.connect(str(folder / "g-1.sock"))
        assert jobs_by_worker(collect(asked)) == {"0": 1, "1": 2}
    other.stop()


def test_collector_that_fails_does_not_end_the_answering(
    joined: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged, and the next scrape tries again."""
    registry = counting(2)
    is_broken = True

    def fail_first() -> Iterator[Metric]:
        if is_broken:
            raise RuntimeError("no such device")
        return iter(registry.collect())

    asked = joined(counting(1))
    broken = joined(registry)
    broken._collect = fail_first
    assert workers_seen(collect(asked)) == {"answered": 1, "silent": 1}
    assert "no such device" in caplog.text
    is_broken = False
    assert jobs_by_worker(collect(asked)) == {"0": 1, "1": 2}


@pytest.mark.parametrize(
    "bad", ["occupied/by/a/file", "x" * 200], ids=["not a folder", "too long for the kernel"]
)
def test_folder_that_cannot_be_used_is_logged_once_and_costs_no_metrics(
    bad: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names variable, value and remedy; /metrics still has this worker."""
    (tmp_path / "occupied").touch()
    worker = WorkerMetrics(tmp_path / bad, "g", counting(1).collect)
    for _ in range(2):
        worker.start()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"PROMETHEUS_MULTIPROC_DIR={tmp_path / bad} cannot be used")
    assert "short path of a folder that the service can write" in record.getMessage()
    assert jobs_by_worker(collect(worker)) == {"0": 1}


def test_folder_that_vanishes_costs_no_metrics(joined: Join, folder: Path) -> None:
    """The folder may be removed while the service runs."""
    worker = joined()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert jobs_by_worker(collect(worker)) == {"0": 1}


def test_forked_child_has_a_slot_of_its_own_and_leaves_the_parents_alone(
    joined: Join,
) -> None:
    """Gunicorn's preload forks after the app is created."""
    parent = joined(counting(1))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        parent.start()
        os.write(write_end, json.dumps([parent._slot]).encode())
        signal.pause()
    try:
        os.close(write_end)
        assert json.loads(os.read(read_end, 100)) == [1]
        assert set(jobs_by_worker(collect(parent))) == {"0", "1"}
        parent.stop()
        parent.start()
        assert parent._slot == 0
    finally:
        os.close(read_end)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert jobs_by_worker(collect(parent)) == {"0": 1}


def test_client_without_a_folder_has_no_worker_label() -> None:
    """Single-process metrics are unchanged."""
    with TelemetryClient(service_name="alone", traces_exporter="none") as client:
        families = anyio.run(client.collect_metrics)
    assert families
    assert not any(names.WORKER in sample.labels for family in families for sample in family.samples)


def test_app_offers_its_metrics_while_it_runs_and_may_run_again(folder: Path) -> None:
    """Sockets exist during the lifespan or, without a lifespan, from the first scrape on."""
    app = FastAPI()
    client = setup_telemetry(app, TelemetryConfig(traces_exporter="none", multiproc_dir=folder))
    assert not folder.exists()
    for _ in range(2):
        with TestClient(app) as requests:
            assert len(list(folder.glob("*.sock"))) == 1
            assert 'telemetry_spans_ended_total{worker="0"}' in requests.get("/metrics").text
        assert not list(folder.glob("*.sock"))
    client.start()
    assert 'telemetry_workers{state="answered"} 1.0' in TestClient(app).get("/metrics").text
    assert len(list(folder.glob("*.sock"))) == 1
    client.shutdown()


def test_without_metrics_the_folder_is_the_applications_own_affair(folder: Path) -> None:
    """The application may use prometheus_client's own multiprocess mode."""
    app = FastAPI()
    config = TelemetryConfig(traces_exporter="none", multiproc_dir=folder, enable_prometheus=False)
    setup_telemetry(app, config)
    with TestClient(app):
        assert not folder.exists()
