"""From answers to fates: the OTLP specification's table."""

import grpc
import pytest

from telemetry.export.outcome import Fate, from_grpc, from_http

RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_grpc_status_has_its_fate(code: grpc.StatusCode) -> None:
    """Every status is decided, and named for the metric."""
    outcome = from_grpc(code, "why")
    assert outcome.fate is (Fate.RETRY if code in RETRYABLE else Fate.NOT_RETRYABLE)
    assert outcome.kind == code.name.lower()
    assert "why" in outcome.detail


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (429, Fate.THROTTLED),
        *((status, Fate.RETRY) for status in (502, 503, 504)),
        *((status, Fate.NOT_RETRYABLE) for status in (400, 401, 403, 404, 408, 413, 500, 501)),
    ],
)
def test_http_status_has_its_fate(status: int, fate: Fate) -> None:
    """Only four statuses are worth another try."""
    assert from_http(status, "why").fate is fate
