"""The pipeline over HTTP: statuses, size limits and partial success."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from support.otlp_answers import partial_success
from support.pipeline_rig import end_spans
from support.waiting import Until

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerState
from telemetry.export.ledger import DropReason
from telemetry.export.pipeline import ExportPipeline


def test_throttling_holds_the_batch_and_never_trips(until: Until) -> None:
    """A batch answered with 429 is sent again, and the breaker stays closed."""
    with HttpReceiver(429, 429, 429, 429, 429) as receiver:
        pipeline = http_pipeline(receiver)
        end_spans(pipeline, 3)
        until("3 spans delivered", lambda: pipeline.ledger.read().delivered == 3)
        assert len(receiver.paths) == 6
        assert pipeline.breaker.snapshot().opened_total == 0
        pipeline.stop(1)
        receiver.shutdown()


def test_batch_that_is_too_large_is_halved_down_to_the_span_that_is() -> None:
    """Only the span that is too large is lost, and the flush returns False."""
    with HttpReceiver(limit_bytes=5_000) as receiver:
        pipeline = http_pipeline(receiver, schedule_delay_ms=60_000)
        end_spans(pipeline, 4)
        end_spans(pipeline, 1, text="x" * 10_000)
        end_spans(pipeline, 4)
        assert pipeline.force_flush(10_000) is False
        reading = pipeline.ledger.read()
        assert (reading.delivered, dict(reading.dropped)) == (8, {DropReason.NOT_RETRYABLE: 1})
        assert pipeline.buffered_bytes == 0
        assert pipeline.force_flush(10_000) is True
        pipeline.stop(1)
        receiver.shutdown()


def http_pipeline(receiver: "HttpReceiver", **settings: Any) -> ExportPipeline:
    """Returns a pipeline that sends to the receiver."""
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    defaults = {"protocol": "http/protobuf", "endpoint": endpoint, "schedule_delay_ms": 20}
    return ExportPipeline(TelemetryConfig(**{**defaults, **settings}))


class HttpReceiver(ThreadingHTTPServer):
    """An OTLP/HTTP server that answers with the given statuses, then with 200 and a body."""

    def __init__(self, *statuses: int, body: bytes = b"", limit_bytes: int = 2**30) -> None:
        self.statuses = list(statuses)
        self.body = body
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Answers one export."""
                length = int(self.headers["content-length"])
                self.rfile.read(length)
                outer.paths.append(self.path)
                status = outer.statuses.pop(0) if outer.statuses else 200
                self.send_response(413 if length > limit_bytes else status)
                self.send_header("content-length", str(len(outer.body)))
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.mark.parametrize(
    ("status", "delivered", "dropped"),
    [
        (503, 1, {}),
        (429, 1, {}),
        (401, 0, {DropReason.NOT_RETRYABLE: 1}),
        (400, 0, {DropReason.NOT_RETRYABLE: 1}),
    ],
)
def test_http_refusal_is_classified_by_its_status(
    status: int, delivered: int, dropped: dict[DropReason, int], until: Until
) -> None:
    """503 and 429 are retried, 401 and 400 are not; the path is `/v1/traces`."""
    with HttpReceiver(status) as receiver:
        pipeline = ExportPipeline(
            TelemetryConfig(
                protocol="http/protobuf",
                endpoint=f"http://127.0.0.1:{receiver.server_port}",
                schedule_delay_ms=20,
            )
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(pipeline)
        provider.get_tracer("test").start_span("work").end()
        until("the span to be finished", lambda: pipeline.ledger.read().in_memory == 0)
        reading = pipeline.ledger.read()
        assert (reading.delivered, dict(reading.dropped)) == (delivered, dropped)
        assert set(receiver.paths) == {"/v1/traces"}
        assert delivered or f"HTTP {status}" in str(pipeline.status.last_error)
        pipeline.stop(1)
        receiver.shutdown()


def test_partial_success_counts_what_was_rejected_and_logs_once_why(
    until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Rejected spans are not retried or counted as delivered, and the flush returns False."""
    with HttpReceiver(body=partial_success(2, "too old")) as receiver:
        endpoint = f"http://127.0.0.1:{receiver.server_port}"
        pipeline = ExportPipeline(
            TelemetryConfig(protocol="http/protobuf", endpoint=endpoint, schedule_delay_ms=20)
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(pipeline)
        for batches in (1, 2):
            for _ in range(3):
                provider.get_tracer("test").start_span("work").end()
            assert pipeline.force_flush(5_000) is False
            until("a batch at the receiver", lambda batches=batches: len(receiver.paths) >= batches)
        reading = pipeline.ledger.read()
        assert reading.ended == reading.delivered + reading.rejected == 6
        assert reading.rejected >= 4
        assert [record.getMessage() for record in caplog.records] == [
            "a batch was accepted, but 2 of its spans were rejected: too old"
        ]
        pipeline.stop(1)
        receiver.shutdown()


def test_http_collector_that_is_not_there_opens_the_breaker(until: Until, free_port: int) -> None:
    """A refused HTTP connection is retryable."""
    pipeline = ExportPipeline(
        TelemetryConfig(
            protocol="http/protobuf", endpoint=f"http://127.0.0.1:{free_port}", schedule_delay_ms=20
        )
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    provider.get_tracer("test").start_span("work").end()
    until("the breaker to open", lambda: pipeline.breaker.state is BreakerState.OPEN)
    assert pipeline.ledger.read().in_memory == 1
    assert pipeline.stop(0.2) is False
    assert pipeline.ledger.read().dropped == {DropReason.SHUTDOWN: 1}
