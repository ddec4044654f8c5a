"""Workers as processes: killed, with a reused id, and under a real uvicorn."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from support.paths import ROOT
from support.waiting import Until
from support.worker_metrics import Join, collect, counting, jobs_by_worker, workers_seen

SOURCE = {**os.environ, "PYTHONPATH": str(ROOT)}

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
    """Neither started programs nor forked children keep the slot."""
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
    """Only metrics created before setup, a limit of prometheus_client, continue a dead process's values."""
    folder.mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", INHERITED],
        env={**SOURCE, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.splitlines() == ["42.0 None", "1.0 {'trace_id': 'a'}"]


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
    """A real uvicorn with two workers; yields its address and its process."""
    (tmp_path / "shop.py").write_text(APP)
    folder.mkdir()  # prometheus_client itself needs it for the counter that is created early
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
    """Returns each worker's samples by name, the scraped worker first."""
    answer = httpx.get(f"{url}/metrics", headers={"accept": "application/openmetrics-text"}, trust_env=False)
    by_worker: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if "worker" in sample.labels:
                by_worker.setdefault(sample.labels["worker"], {})[sample.name] = sample
    return by_worker


def instances_of(seen: dict[str, dict[str, Any]]) -> set[str]:
    """Returns the workers' instance ids."""
    return {samples["target_info"].labels["service_instance_id"] for samples in seen.values()}


@pytest.mark.timeout(120)
def test_workers_of_a_real_server(server: tuple[str, subprocess.Popen[bytes]], until: Until) -> None:
    """Either worker answers for both, with exemplars; a killed one is replaced and leaves nothing stale."""
    url, process = server
    pids: set[int] = set()

    def both_work() -> bool:
        try:
            pids.add(httpx.get(f"{url}/work", trust_env=False).json())
        except httpx.TransportError:
            return False
        return len(pids) == 2

    until("both workers to answer", both_work, 90)
    instances = instances_of(scrape(url))
    assert len(instances) == 2
    asked: set[str] = set()

    def both_were_asked() -> bool:  # each call makes a new connection, so either may answer
        seen = scrape(url)
        asked.add(next(iter(seen)))  # the answering worker's samples come first
        assert set(seen) == {"0", "1"}
        assert instances_of(seen) == instances
        for samples in seen.values():
            assert samples["made_early_total"].value > 0
            assert samples["made_late_total"].value > 0
            assert samples["app_request_latency_ms_count"].value > 0
            assert samples["python_info"].value == 1
        return len(asked) == 2

    until("an answer of each worker", both_were_asked, 90)
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

    until("a new worker", replaced, 90)
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
    """The kernel still accepts its connections; the other worker answers within the deadline."""
    url, process = server
    until("both workers", lambda: _is_up(url) and set(scrape(url)) == {"0", "1"}, 90)
    children = psutil.Process(process.pid).children()
    frozen = next(each for each in children if "spawn_main" in " ".join(each.cmdline()))
    frozen.suspend()
    try:
        answers: list[str] = []

        def other_answers() -> bool:
            try:
                text = httpx.get(f"{url}/metrics", trust_env=False, timeout=3).text
            except httpx.TimeoutException:
                return False  # the frozen worker got the request
            answers.append(text)
            return 'telemetry_workers{state="silent"} 1.0' in text

        until("an answer that lacks the frozen worker", other_answers, 90)
        assert 'telemetry_workers{state="answered"} 1.0' in answers[-1]
    finally:
        frozen.resume()
    until("both again", lambda: set(scrape(url)) == {"0", "1"}, 90)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/work", trust_env=False).is_success
    except httpx.TransportError:
        return False
