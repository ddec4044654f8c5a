"""Workers that share a folder: on real sockets, and as the workers of a real uvicorn."""

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import psutil
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as plain_text
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from prometheus_client.samples import Exemplar

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.metrics import multiprocess, names
from telemetry.metrics.merge import from_json, merge, to_json
from telemetry.metrics.multiprocess import WorkerMetrics
from telemetry.settings.server import announced_workers
from telemetry.telemetry import setup_telemetry

Until = Callable[..., None]
Join = Callable[..., WorkerMetrics]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the workers meet, with a path that is short enough for sockets."""
    return tmp_path / "w"


def counting(value: float) -> CollectorRegistry:
    """A registry with one counter, one histogram and an exemplar."""
    registry = CollectorRegistry()
    Counter("jobs", "Jobs done.", ["queue"], registry=registry).labels("mail").inc(
        value, exemplar={"trace_id": "ab" * 16}
    )
    Histogram("seconds", "Time.", registry=registry, buckets=(1, 2)).observe(value)
    return registry


@pytest.fixture
def joined(folder: Path) -> Iterator[Join]:
    """Makes workers that have joined; they leave at the end."""
    made: list[WorkerMetrics] = []

    def join(registry: CollectorRegistry | None = None, group: str = "g") -> WorkerMetrics:
        worker = WorkerMetrics(folder, group, (registry or counting(1)).collect)
        worker.start()
        made.append(worker)
        return worker

    yield join
    for worker in made:
        worker.stop()


def collect(worker: WorkerMetrics) -> list[Metric]:
    """What a worker answers."""
    return anyio.run(worker.collect_all)


def jobs_by_worker(families: list[Metric]) -> dict[str, float]:
    """The counter by worker."""
    return {
        sample.labels["worker"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "jobs_total"
    }


def workers_seen(families: list[Metric]) -> dict[str, float]:
    """How many answered, and how many were silent."""
    return {
        sample.labels["state"]: sample.value
        for family in families
        for sample in family.samples
        if family.name == names.WORKERS
    }


def as_text(families: list[Metric], encode: Callable[..., bytes] = openmetrics_text) -> str:
    """What a scraper gets, OpenMetrics unless told otherwise."""

    class Registry:
        def collect(self) -> list[Metric]:
            return families

    return encode(Registry()).decode()


def test_whoever_is_asked_answers_for_all(joined: Join) -> None:
    """Each sample once, under its worker's label; exemplars too."""
    three = [joined(counting(value)) for value in (1, 2, 3)]
    for worker in three:
        families = collect(worker)
        assert jobs_by_worker(families) == {"0": 1, "1": 2, "2": 3}
        assert workers_seen(families) == {"answered": 3, "silent": 0}
        exemplars = [s.exemplar.labels for f in families for s in f.samples if s.exemplar]
        assert exemplars == [{"trace_id": "ab" * 16}] * 3


def test_worker_alone_answers_for_itself(joined: Join) -> None:
    """With the same label as if there were more."""
    assert jobs_by_worker(collect(joined())) == {"0": 1}


def test_worker_that_left_leaves_nothing_and_its_slot_is_taken_again(
    joined: Join,
) -> None:
    """The lowest free slot: labels stay few."""
    first, second = joined(counting(1)), joined(counting(2))
    first.stop()
    assert jobs_by_worker(collect(second)) == {"1": 2}
    third = joined(counting(3))
    assert jobs_by_worker(collect(second)) == {"0": 3, "1": 2}
    first.start()
    assert jobs_by_worker(collect(third)) == {"0": 3, "1": 2, "2": 1}


def test_starting_twice_takes_one_slot(joined: Join) -> None:
    """An app's lifespan and its first scrape both start it."""
    worker = joined()
    worker.start()
    assert jobs_by_worker(collect(worker)) == {"0": 1}


def test_other_groups_are_left_alone(joined: Join) -> None:
    """Workers of another configuration measure something else."""
    mine, other, another = joined(counting(1)), joined(counting(2), group="h"), joined(counting(3), group="h")
    assert jobs_by_worker(collect(mine)) == {"0": 1}
    for worker in (other, another):
        assert jobs_by_worker(collect(worker)) == {"0": 2, "1": 3}


def test_folder_and_socket_are_the_users_own(joined: Join, folder: Path) -> None:
    """Nobody else reads the metrics."""
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
    """Cut off or of another version: it is counted, told once, and the others are there."""
    worker = joined()
    with impostor(folder / "g-7.sock", answer):
        for _ in range(2):
            families = collect(worker)
            assert jobs_by_worker(families) == {"0": 1}
            assert workers_seen(families) == {"answered": 1, "silent": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "worker 7 does not answer: /metrics lacks it"
    ]


class impostor:  # noqa: N801 - a context manager
    """Somebody at a worker's socket who gives each caller the same bytes."""

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
    """They are read at the same time: else thirty of them would take thirty deadlines."""
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
    """Memory is bounded."""
    monkeypatch.setattr(multiprocess, "_MOST_BYTES", 1000)
    worker = joined()
    with impostor(folder / "g-3.sock", b" " * 2000 + b"[]"):
        assert workers_seen(collect(worker)) == {"answered": 1, "silent": 1}
    with impostor(folder / "g-4.sock", b" " * 900 + b"[]"):
        assert workers_seen(collect(worker)) == {"answered": 2, "silent": 0}


def test_reader_that_never_reads_holds_nobody_up(joined: Join, folder: Path) -> None:
    """The one that answers gives up on it in time for the next."""
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
    """Told, and tried again at the next scrape."""
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
def test_folder_that_cannot_be_used_is_told_once_and_costs_no_metrics(
    bad: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Variable, value and remedy; /metrics goes on with this worker."""
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
    """Somebody cleaned up under a running service."""
    worker = joined()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert jobs_by_worker(collect(worker)) == {"0": 1}


def test_forked_child_has_a_slot_of_its_own_and_leaves_the_parents_alone(
    joined: Join,
) -> None:
    """Gunicorn's preload forks after the app was made."""
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


def test_own_label_worker_is_kept_as_exported(joined: Join) -> None:
    """Prometheus's own rule on a conflict."""
    registry = CollectorRegistry()
    Gauge("load", "Of a worker.", ["worker"], registry=registry).labels("mine").set(5)
    (load,) = [family for family in collect(joined(registry)) if family.name == "load"]
    assert [sample.labels for sample in load.samples] == [{"exported_worker": "mine", "worker": "0"}]


def test_disagreement_about_a_type_leaves_the_later_one_out_and_is_told_once(
    joined: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """While a new version rolls in; an exposition with two types of one name could not be parsed at all."""
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
    """The encoders take whatever float() does, so that an application's collector may give it."""
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
    """With its exemplar, in both formats, through JSON and back, whatever the labels are."""

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

    def told(families: Iterable[Metric]) -> list[Any]:
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

    assert in_order(told(merged)) == in_order(expected)
    assert in_order(told(text_string_to_metric_families(as_text(merged)))) == in_order(expected)
    plain = in_order(told(parse_plain_text(as_text(merged, plain_text))), without_exemplars=True)
    assert plain == in_order(expected, without_exemplars=True)


def _whole(timestamp: Any) -> int | None:
    return None if timestamp is None else int(float(timestamp))


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, ["/usr/bin/uvicorn", "app:app"], 1),
        ({"WEB_CONCURRENCY": "4"}, [], 4),
        ({"WEB_CONCURRENCY": "many"}, [], 1),
        ({}, ["/usr/bin/uvicorn", "app:app", "--workers", "3"], 3),
        ({}, ["/lib/uvicorn/__main__.py", "app:app", "--workers=3"], 3),
        ({}, ["/usr/bin/gunicorn", "-w", "2", "app:app"], 2),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers=5"}, ["/usr/bin/gunicorn", "app:app"], 5),
        ({}, ["/usr/bin/gunicorn", "-w4", "app:app"], 4),
        ({"WEB_CONCURRENCY": "4"}, ["/usr/bin/uvicorn", "app:app", "--workers", "1"], 1),
        ({}, ["/usr/bin/somebody", "--workers", "3"], 1),
        ({}, ["/usr/bin/fastapi", "run", "--workers", "2"], 2),
    ],
)
def test_number_of_workers_that_was_announced(
    environment: dict[str, str], arguments: list[str], expected: int
) -> None:
    """The servers' own variables and options."""
    assert announced_workers(environment, arguments) == expected


@pytest.mark.parametrize(("folder_is_set", "warns"), [(False, True), (True, False)])
def test_several_workers_without_a_folder_warn(
    folder_is_set: bool,
    warns: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each scrape would show another worker: the classic trap."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    if folder_is_set:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    TelemetryConfig().log_suspicions()
    assert ("set PROMETHEUS_MULTIPROC_DIR to a folder" in caplog.text) == warns


def test_client_without_a_folder_has_no_worker_label() -> None:
    """One process alone is as it always was."""
    with TelemetryClient(service_name="alone", traces_exporter="none") as client:
        families = anyio.run(client.collect_metrics)
    assert families
    assert not any(names.WORKER in sample.labels for family in families for sample in family.samples)


def test_app_offers_its_metrics_while_it_runs_and_may_run_again(folder: Path) -> None:
    """From the lifespan's start to its end; without a lifespan, from the first scrape on."""
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
    """It may use prometheus_client's own mode."""
    app = FastAPI()
    config = TelemetryConfig(traces_exporter="none", multiproc_dir=folder, enable_prometheus=False)
    setup_telemetry(app, config)
    with TestClient(app):
        assert not folder.exists()


KILLED = """\
import os, subprocess, sys, time
from pathlib import Path
from telemetry.metrics.multiprocess import WorkerMetrics

worker = WorkerMetrics(Path(sys.argv[1]), "g", lambda: [])
worker.start()
child = subprocess.Popen(["sleep", "60"], close_fds=False)
read_end, write_end = os.pipe()
forked = os.fork()
if not forked:
    os.write(write_end, b"x")
    time.sleep(60)
os.read(read_end, 1)
print(child.pid, forked, flush=True)
time.sleep(60)
"""


def test_killed_workers_children_do_not_keep_its_slot(joined: Join, folder: Path) -> None:
    """Neither a program that it started nor a child that it forked."""
    victim = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, env=SOURCE)
    with victim:
        assert victim.stdout is not None
        children = [psutil.Process(int(pid)) for pid in victim.stdout.readline().split()]
        try:
            assert joined()._slot == 1
            victim.kill()
            victim.wait()
            assert all(child.is_running() for child in children)
            families = collect(joined(counting(5)))
            assert jobs_by_worker(families) == {"0": 5, "1": 1}
            assert workers_seen(families) == {"answered": 2, "silent": 0}
        finally:
            for child in children:
                child.kill()


INHERITED = """\
import os
from prometheus_client import Counter, mmap_dict, values
from telemetry.metrics.multiprocess import keep_values_in_process

file = mmap_dict.MmapedDict(f"{os.environ['PROMETHEUS_MULTIPROC_DIR']}/counter_{os.getpid()}.db")
for name in ("early", "late"):
    file.write_value(mmap_dict.mmap_key(name, f"{name}_total", (), (), "Of a dead process."), 41.0, 0.0)
file.close()
early = Counter("early", "Of a dead process.")
keep_values_in_process()
late = Counter("late", "Of a dead process.")
for counter in (early, late):
    counter.inc(exemplar={"trace_id": "a"})
    (sample, *_) = next(iter(counter.collect())).samples
    print(sample.value, sample.exemplar and sample.exemplar.labels)
"""


def test_values_are_a_processes_own_even_if_its_id_was_used_before(folder: Path) -> None:
    """For what is made after setup; what was made before is prometheus_client's, whose limit this pins."""
    folder.mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", INHERITED],
        env={**SOURCE, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.splitlines() == ["42.0 None", "1.0 {'trace_id': 'a'}"]


SOURCE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

APP = """\
import os
from fastapi import FastAPI
from prometheus_client import Counter
made_early = Counter("made_early", "Before the library was set up.")
from telemetry.telemetry import setup_telemetry

app = FastAPI()
own = setup_telemetry(app).meter.create_counter("own")
made_late = Counter("made_late", "After.")

@app.get("/work")
async def work() -> int:
    made_early.inc()
    made_late.inc()
    own.add(1)
    return os.getpid()
"""


@pytest.fixture
def server(tmp_path: Path, folder: Path, free_port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real uvicorn with two workers; its address and its process."""
    (tmp_path / "shop.py").write_text(APP)
    folder.mkdir()  # prometheus_client itself wants it, for the counter that is made early
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(free_port), "--workers", "2"],
        cwd=tmp_path,
        env={
            **SOURCE,
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_TRACES_SAMPLER": "always_on",
        },
    )
    yield f"http://127.0.0.1:{free_port}", process
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=20)
    psutil.wait_procs(children, timeout=10)


def scrape(url: str) -> dict[str, dict[str, Any]]:
    """By worker: its samples by name, with what is asked of them."""
    answer = httpx.get(f"{url}/metrics", headers={"accept": "application/openmetrics-text"}, trust_env=False)
    by_worker: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if "worker" in sample.labels:
                by_worker.setdefault(sample.labels["worker"], {})[sample.name] = sample
    return by_worker


def instances_of(seen: dict[str, dict[str, Any]]) -> set[str]:
    """The workers' instance ids."""
    return {samples["target_info"].labels["service_instance_id"] for samples in seen.values()}


@pytest.mark.timeout(120)
def test_workers_of_a_real_server(
    server: tuple[str, subprocess.Popen[bytes]], until: Until, folder: Path
) -> None:
    """Whichever answers shows both, exemplars included; a killed one is replaced and leaves nothing stale."""
    url, process = server
    pids: set[int] = set()

    def both_work() -> bool:
        try:
            pids.add(httpx.get(f"{url}/work", trust_env=False).json())
        except httpx.TransportError:
            return False
        return len(pids) == 2

    until("both workers to answer", both_work, 30)
    instances = instances_of(scrape(url))
    assert len(instances) == 2
    asked: set[str] = set()

    def both_were_asked() -> bool:  # a new connection each: either may answer
        seen = scrape(url)
        asked.add(next(iter(seen)))  # its own come first
        assert set(seen) == {"0", "1"}
        assert instances_of(seen) == instances
        for samples in seen.values():
            assert samples["made_early_total"].value > 0
            assert samples["made_late_total"].value > 0
            assert samples["app_request_latency_ms_count"].value > 0
            assert samples["python_info"].value == 1
        return len(asked) == 2

    until("an answer of each worker", both_were_asked, 30)
    text = httpx.get(
        f"{url}/metrics", headers={"accept": "application/openmetrics-text"}, trust_env=False
    ).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    exemplars = {s.labels["worker"] for s in families["app_request_latency_ms"].samples if s.exemplar}
    assert exemplars == {"0", "1"}
    assert {s.labels["worker"] for s in families["made_late"].samples} == {"0", "1"}
    plain = httpx.get(f"{url}/metrics", trust_env=False).text
    assert {family.name for family in parse_plain_text(plain)} >= {"made_late", "telemetry_spans_ended"}

    victim = pids.pop()
    os.kill(victim, signal.SIGKILL)
    survivor = pids.copy()

    def replaced() -> bool:
        try:
            pids.add(httpx.get(f"{url}/work", trust_env=False).json())
        except httpx.TransportError:
            return False
        return len(pids) == 2

    until("a new worker", replaced, 30)
    assert survivor < pids
    seen = scrape(url)
    assert set(seen) == {"0", "1"}
    assert len(instances_of(seen) - instances) == 1
    assert len(instances_of(seen) & instances) == 1
    assert process.poll() is None


@pytest.mark.timeout(120)
def test_frozen_worker_is_counted_as_silent(
    server: tuple[str, subprocess.Popen[bytes]], until: Until
) -> None:
    """Its kernel still accepts connections for it; the other one answers within the deadline."""
    url, process = server
    until("both workers", lambda: _is_up(url) and set(scrape(url)) == {"0", "1"}, 30)
    children = psutil.Process(process.pid).children()
    frozen = next(each for each in children if "spawn_main" in " ".join(each.cmdline()))
    frozen.suspend()
    try:
        answers: list[str] = []

        def other_answers() -> bool:
            try:
                text = httpx.get(f"{url}/metrics", trust_env=False, timeout=3).text
            except httpx.TimeoutException:
                return False  # the frozen one had accepted it
            answers.append(text)
            return 'telemetry_workers{state="silent"} 1.0' in text

        until("an answer that lacks the frozen worker", other_answers, 30)
        assert 'telemetry_workers{state="answered"} 1.0' in answers[-1]
    finally:
        frozen.resume()
    until("both again", lambda: set(scrape(url)) == {"0", "1"}, 30)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/work", trust_env=False).is_success
    except httpx.TransportError:
        return False
