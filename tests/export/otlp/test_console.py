"""Spans that are printed."""

import json

import pytest

from telemetry.client import TelemetryClient


def test_printed_spans_have_the_ids_of_logs(capsys: pytest.CaptureFixture[str]) -> None:
    """As OTLP/JSON demands: identifiers in hexadecimal, enums as numbers."""
    client = TelemetryClient(service_name="printing", traces_exporter="console", sampler="always_on")
    with client.start_span("outer") as outer, client.start_span("inner") as inner:
        pass
    assert client.shutdown(5)
    printed = json.loads(capsys.readouterr().out)
    (resource,) = printed["resourceSpans"]
    spans = {span["name"]: span for span in resource["scopeSpans"][0]["spans"]}
    context = outer.get_span_context()
    assert spans["outer"]["traceId"] == f"{context.trace_id:032x}"
    assert spans["outer"]["spanId"] == f"{context.span_id:016x}"
    assert spans["inner"]["parentSpanId"] == f"{context.span_id:016x}"
    assert spans["inner"]["spanId"] == f"{inner.get_span_context().span_id:016x}"
    assert spans["outer"]["kind"] == 1
