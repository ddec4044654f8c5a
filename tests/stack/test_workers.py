"""A storefront of two workers, in each runtime: /metrics shows both, whichever worker answers."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.running_stack import Stack

from stack.canary import order_one
from telemetry.metrics import names

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def two_workers(stack: Stack) -> Iterator[Stack]:
    """The same stack with WEB_CONCURRENCY=2; with one worker again afterwards."""
    settings = stack.settings.model_copy(update={"web_concurrency": 2})
    runtime = stack.runtime_of(settings)
    runtime.up()
    changed = Stack(settings, runtime, stack.runtime_of)
    changed.wait("two workers", lambda: len(ended_by_worker(changed)) == 2, seconds=30)
    yield changed
    stack.runtime.up()
    # Prometheus may have missed it while it was started anew.
    stack.wait("five targets up", lambda: stack.prometheus.total("up") == 5, seconds=30)


def ended_by_worker(stack: Stack) -> dict[str, float]:
    """Returns the ended spans by worker, from one answer of /metrics."""
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(stack.metrics())
        for sample in family.samples
        if sample.name == f"{names.SPANS_ENDED}_total"
    }


def worker_processes(stack: Stack) -> list[psutil.Process]:
    """Returns the storefront's workers."""
    (pid,) = [each.pid for each in stack.runtime.status() if each.part.name == "storefront"]
    assert pid is not None
    children = psutil.Process(pid).children()
    return [each for each in children if "resource_tracker" not in " ".join(each.cmdline())]


def test_every_answer_shows_both_workers_and_both_work(two_workers: Stack) -> None:
    """Each has spans of its own, under the same two labels."""

    def both_work() -> bool:
        httpx.get(
            f"{two_workers.storefront}/v1/products", trust_env=False
        )  # a new connection each: either may answer
        ended = ended_by_worker(two_workers)
        return set(ended) == {"0", "1"} and all(ended.values())

    two_workers.wait("spans of both workers", both_work, seconds=30)


def test_exemplars_of_both_workers_are_there(two_workers: Stack) -> None:
    """prometheus_client's own multi-process mode loses them."""

    def workers_with_exemplars() -> bool:
        order_one(two_workers.settings)
        seen = {
            sample.labels["worker"]
            for family in text_string_to_metric_families(two_workers.metrics())
            for sample in family.samples
            if sample.exemplar and family.name == names.REQUEST_LATENCY_MS
        }
        return seen == {"0", "1"}

    two_workers.wait("exemplars of both workers", workers_with_exemplars, seconds=30)
    query = f'{names.REQUEST_LATENCY_MS}_bucket{{job="storefront",worker="1"}}'
    started = time.time() - 60
    two_workers.wait(
        "an exemplar of worker 1 in Prometheus",
        lambda: two_workers.prometheus.exemplar_trace_ids(query, start=started, end=time.time() + 5),
        seconds=20,
    )


def test_each_worker_has_its_own_instance_and_its_own_ledger(two_workers: Stack) -> None:
    """A health report is that of the worker that answers, identified by its instance id."""
    reports: dict[str, list[int]] = defaultdict(list)

    def both_answered() -> bool:
        report = two_workers.health()
        ledger = report["ledger"]
        reports[report["service"]["instance_id"]].append(ledger["ended"])
        assert ledger["ended"] == (
            ledger["delivered"] + ledger["rejected"] + sum(ledger["dropped"].values()) + ledger["in_memory"]
        )
        return len(reports) == 2

    two_workers.wait("a report of both workers", both_answered, seconds=30)


def test_faults_reach_every_worker(two_workers: Stack) -> None:
    """One PUT to any worker holds for all, and one ends it."""

    def statuses() -> set[int]:
        return {
            httpx.get(f"{two_workers.storefront}/v1/products", trust_env=False).status_code for _ in range(30)
        }

    two_workers.put_faults(error_rate=1)
    try:
        assert statuses() == {500}
    finally:
        two_workers.put_faults()
    assert statuses() == {200}


def test_worker_that_dies_is_replaced_and_leaves_no_stale_series(two_workers: Stack) -> None:
    """The new one takes the dead one's label and begins at zero; no other worker is seen."""
    victim = worker_processes(two_workers)[0]
    before = ended_by_worker(two_workers)
    os.kill(victim.pid, signal.SIGKILL)
    two_workers.wait(
        "two workers, one of them new",
        lambda: (
            len(ended_by_worker(two_workers)) == 2
            and victim.pid not in {each.pid for each in worker_processes(two_workers)}
            and len(worker_processes(two_workers)) == 2
        ),
        seconds=30,
    )
    after = ended_by_worker(two_workers)
    assert set(after) == set(before) == {"0", "1"}
    assert any(after[worker] < before[worker] for worker in after)
    query = f'count(count by (worker) ({names.SPANS_ENDED}_total{{job="storefront"}}))'
    two_workers.wait(
        "two workers in Prometheus",
        lambda: [series.value for series in two_workers.prometheus.query(query)] == [2],
        seconds=20,
    )
