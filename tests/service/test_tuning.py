"""Tuning on demand: an override reaches every worker, and ends with its service."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.free_ports import free_port
from support.service_processes import run_service, wait_for, wait_until_alive

from telemetry.metrics import names

DEVELOPMENT = {"ENVIRONMENT": "development", "OTEL_TRACES_EXPORTER": "none"}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An inventory in development with two workers, whose metrics are labelled by worker."""
    folder = tmp_path_factory.mktemp("tuning")
    (folder / "sockets").mkdir()
    with run_service(
        "inventory",
        folder / "shop",
        port=free_port(),
        arguments=("--workers", "2"),
        PROMETHEUS_MULTIPROC_DIR=str(folder / "sockets"),
        **DEVELOPMENT,
    ) as client:
        wait_until_alive(client)
        yield client


def of_workers(client: httpx.Client, metric: str) -> dict[str, float]:
    """Returns a metric's value in each worker."""
    return {
        sample.labels[names.WORKER]: sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == metric
    }


def test_an_override_reaches_every_worker(two_workers: httpx.Client) -> None:
    """Any worker may receive it; absent fields stay as they are."""
    before = two_workers.get("/tuning").json()
    answer = two_workers.put("/tuning", json={"batch_size": 77})
    assert answer.json() == {**before, "batch_size": 77}
    wait_for("both workers", lambda: [*of_workers(two_workers, names.BATCH_SIZE_LIMIT).values()] == [77, 77])
    two_workers.put("/tuning", json={"sampling_ratio": 0.25, "delay_ms": 250})
    wait_for(
        "both workers", lambda: [*of_workers(two_workers, names.SAMPLING_RATIO).values()] == [0.25, 0.25]
    )
    assert two_workers.get("/tuning").json() == {"batch_size": 77, "delay_ms": 250, "sampling_ratio": 0.25}


def test_concurrent_overrides_are_all_kept(two_workers: httpx.Client) -> None:
    """Each sets one field, and any worker may receive it."""
    for batch_size in range(100, 110):
        overrides = [
            {"batch_size": batch_size},
            {"sampling_ratio": batch_size / 1000},
            {"delay_ms": batch_size},
        ]
        with ThreadPoolExecutor(len(overrides)) as threads:
            answers = list(threads.map(lambda override: two_workers.put("/tuning", json=override), overrides))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        for metric, value in (
            (names.BATCH_SIZE_LIMIT, batch_size),
            (names.SAMPLING_RATIO, batch_size / 1000),
        ):
            wait_for(
                f"{metric} {value} in both workers",
                lambda metric=metric, value=value: [*of_workers(two_workers, metric).values()] == [value] * 2,
            )
        # Any worker may answer, and it follows a moment later too.
        wait_for("the delay", lambda: two_workers.get("/tuning").json()["delay_ms"] == batch_size)  # noqa: B023


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"delay_ms": -1}, "delay_ms"),
        ({"sampling_ratio": 1.5}, "sampling_ratio"),
        ({"batchsize": 5}, "batchsize"),
    ],
)
def test_impossible_override_is_refused_and_changes_nothing(
    override: dict[str, float], word: str, two_workers: httpx.Client
) -> None:
    """The response names the bad field."""
    before = two_workers.get("/tuning").json()
    answer = two_workers.put("/tuning", json=override)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert word in answer.text
    assert two_workers.get("/tuning").json() == before


def test_an_override_ends_with_its_service(tmp_path: Path) -> None:
    """A restart restores the configuration, even after the service was killed."""
    for _ in range(2):
        with run_service("inventory", tmp_path / "shop", port=free_port(), **DEVELOPMENT) as client:
            wait_until_alive(client)
            assert client.get("/tuning").json()["batch_size"] == 512
            client.put("/tuning", json={"batch_size": 9}).raise_for_status()
            assert client.get("/tuning").json()["batch_size"] == 9
        assert (tmp_path / "shop" / "inventory-tuning.json").exists()


def test_production_has_no_such_route(tmp_path: Path) -> None:
    """Tuning can be neither read nor written."""
    with run_service(
        "inventory",
        tmp_path / "shop",
        port=free_port(),
        ENVIRONMENT="production",
        OTEL_TRACES_EXPORTER="none",
    ) as client:
        wait_until_alive(client)
        assert client.get("/tuning").status_code == httpx.codes.NOT_FOUND
        assert client.put("/tuning", json={}).status_code == httpx.codes.NOT_FOUND
