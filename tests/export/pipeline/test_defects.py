"""The pipeline survives defects in the transport, the worker, the certificate and thread start."""

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pipeline_rig import ReceiverRig, end_spans
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.ledger import DropReason
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.pipeline import ExportPipeline
from telemetry.export.worker import ExportWorker


class Raising:
    """A transport that raises until it is repaired."""

    def __init__(self) -> None:
        self.is_broken = True

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Raises while the transport is broken."""
        if self.is_broken:
            raise RuntimeError("a defect")
        return ExportResult(Disposition.DELIVERED)

    def close(self) -> None:
        """Has nothing to free."""


def test_worker_survives_a_defect_of_the_transport(until: Until, caplog: pytest.LogCaptureFixture) -> None:
    """The defect is logged; the batch is kept and sent once the defect is gone."""
    transport = Raising()
    pipeline = ExportPipeline(
        TelemetryConfig(schedule_delay_ms=20, breaker_open_seconds=0.05), build=lambda _: transport
    )
    end_spans(pipeline, 3)
    until("the defect told", lambda: "transport_raised" in caplog.text)
    assert pipeline.ledger.read().in_memory == 3
    transport.is_broken = False
    until("3 spans delivered", lambda: pipeline.ledger.read().delivered == 3)
    assert pipeline.stop(1)


def test_transport_that_cannot_be_made_is_tried_rarely(
    until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """The breaker keeps attempts rare, and the error is logged once."""
    attempts: list[TelemetryConfig] = []

    def build(config: TelemetryConfig) -> Any:
        attempts.append(config)
        raise TypeError("a defect")

    pipeline = ExportPipeline(TelemetryConfig(schedule_delay_ms=20), build=build)
    end_spans(pipeline, 3)
    until("the breaker to open", lambda: pipeline.breaker.snapshot().opened_total)
    assert len(attempts) == 3
    assert caplog.text.count("a defect") == 1
    pipeline.stop(0.1)


def test_spans_are_sent_though_no_thread_starts_any_more(
    make_rig: Callable[..., ReceiverRig], receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At interpreter exit the worker still runs, but sending threads cannot start."""
    rig = make_rig(schedule_delay_ms=60_000)
    rig.end_spans(1)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("telemetry"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert rig.pipeline.stop(5) is True
    assert len(receiver.spans) == 1


def test_worker_that_cannot_start_is_logged_without_a_lock(
    make_rig: Callable[..., ReceiverRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logging handler that ends a span reenters the pipeline and must find it unlocked."""
    monkeypatch.setattr(ExportWorker, "start", lambda _: "can't start new thread")
    rig = make_rig()

    class EndsASpan(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Traces each record."""
            rig.end_spans(1, "of the log")

    handler = EndsASpan()
    logger = logging.getLogger("telemetry.export.pipeline")
    logger.addHandler(handler)
    try:
        thread = threading.Thread(target=rig.end_spans, args=(1,), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        logger.removeHandler(handler)
    assert rig.ledger.in_memory == 2
    assert not rig.pipeline.is_worker_alive
    assert rig.pipeline.force_flush(100) is False
    assert rig.pipeline.stop(10), "it sends them itself"
    assert rig.ledger.delivered == 2


def test_certificate_that_cannot_be_read_fails_exports_until_it_can(
    tmp_path: Path, certificates: dict[str, tuple[Path, Path]], until: Until
) -> None:
    """If the file vanishes at runtime, the app goes on and the health report says why exports fail."""
    file = tmp_path / "gone.pem"
    shutil.copy(certificates["valid"][0], file)
    config = TelemetryConfig(
        endpoint="https://localhost:1",
        certificate=str(file),
        schedule_delay_ms=20,
        breaker_open_seconds=0.05,
    )
    file.unlink()
    pipeline = ExportPipeline(config)
    end_spans(pipeline, 3)
    until("the breaker to open", lambda: pipeline.breaker.snapshot().opened_total)
    assert "gone.pem" in str(pipeline.status.last_error)
    assert pipeline.stop(0.2) is False
    assert pipeline.ledger.read().dropped == {DropReason.SHUTDOWN: 3}


def test_defect_that_comes_again_costs_no_processor(
    make_rig: Callable[..., ReceiverRig],
    until: Until,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A repeated defect is logged once a minute and retried once a second, without delaying shutdown."""
    rig = make_rig(schedule_delay_ms=1)
    calls = []

    dispatch = ExportWorker._dispatch

    def stumble(worker: ExportWorker) -> None:
        if worker._ledger is not rig.pipeline.ledger:  # that of an earlier test, which has not ended yet
            dispatch(worker)
            return
        calls.append(1)
        raise RuntimeError("planted")

    monkeypatch.setattr(ExportWorker, "_dispatch", stumble)
    rig.end_spans(1)
    until("a second try", lambda: len(calls) >= 2)
    assert len(calls) < 10, "tried as fast as it goes, that would be thousands"
    assert len([it for it in caplog.records if "failed unexpectedly" in it.getMessage()]) == 1
