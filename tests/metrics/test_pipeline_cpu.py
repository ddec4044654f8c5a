"""CPU of the pipeline on /metrics: of one process, of several workers, and beside pushed metrics."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.waiting import wait_until

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.metrics import names
from telemetry.telemetry import setup_telemetry


def cpu_of(page: str) -> list[Sample]:
    """Returns the series of the CPU counter."""
    families = text_string_to_metric_families(page)
    return [
        each for family in families for each in family.samples if each.name == f"{names.CPU_SECONDS}_total"
    ]


def stages_of(requests: TestClient, found: list[Sample]) -> set[str]:
    """Returns the stages on the page, and puts its series into `found`."""
    found[:] = cpu_of(requests.get("/metrics").text)
    return {each.labels[names.STAGE] for each in found}


def test_page_has_the_cpu_of_each_stage(receiver: Any) -> None:
    """It grows with what is sent."""
    app = FastAPI()
    client = setup_telemetry(app, TelemetryConfig(endpoint=receiver.endpoint, schedule_delay_ms=20))
    with TestClient(app) as requests:

        def stages() -> dict[str, float]:
            return {each.labels[names.STAGE]: each.value for each in cpu_of(requests.get("/metrics").text)}

        assert not stages().keys() & {"encode", "send"}
        with client.start_span("one"):
            pass
        wait_until("both threads' notes", lambda: {"encode", "send"} <= stages().keys())
        before = stages()
        for _ in range(200):
            with client.start_span("more"):
                pass
        wait_until("more CPU", lambda: stages()["encode"] > before["encode"])
        assert all(stages()[stage] >= seconds for stage, seconds in before.items())


def test_workers_have_it_under_their_label(receiver: Any, tmp_path: Path) -> None:
    """Prometheus sums over them."""
    app = FastAPI()
    config = TelemetryConfig(endpoint=receiver.endpoint, schedule_delay_ms=20, multiproc_dir=tmp_path / "w")
    client = setup_telemetry(app, config)
    with TestClient(app) as requests:
        with client.start_span("one"):
            pass
        assert client.force_flush(10)
        found: list[Sample] = []
        wait_until("the worker's note", lambda: "encode" in stages_of(requests, found))
        assert {each.labels[names.WORKER] for each in found} == {"0"}


def test_pushing_metrics_is_a_stage_of_its_own(receiver: Any) -> None:
    """It is telemetry too, but no span's."""
    client = TelemetryClient(endpoint=receiver.endpoint, metrics_exporter="otlp", service_name="pushed-cpu")
    client.meter.create_counter("pushed").add(1)
    assert client.force_flush(10)
    assert client.pipeline.cpu.read().keys() - {"grpc"} == {"push"}
    assert client.shutdown(10)
