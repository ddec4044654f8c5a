"""The OTLP specification's table from answers to dispositions."""

import grpc
import pytest

from telemetry.export.otlp.grpc_response import from_grpc
from telemetry.export.otlp.response import from_http
from telemetry.export.otlp.result import Disposition

RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
SMALL, LARGE = 1_000, 5 * 2**20


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_grpc_status_has_its_disposition(code: grpc.StatusCode) -> None:
    """Every status has a disposition, and a name for the metric."""
    outcome = from_grpc(code, "why", retry_after_seconds=None, payload_bytes=SMALL)
    assert outcome.disposition is (Disposition.RETRYABLE if code in RETRYABLE else Disposition.PERMANENT)
    assert outcome.kind == code.name.lower()
    assert "why" in outcome.detail


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_retry_info_matters_to_what_may_be_retried_only(code: grpc.StatusCode) -> None:
    """It also turns RESOURCE_EXHAUSTED into throttling."""
    outcome = from_grpc(code, "why", retry_after_seconds=3.0, payload_bytes=LARGE)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert (outcome.disposition, outcome.retry_after_seconds) == (Disposition.THROTTLED, 3.0)
    elif code in RETRYABLE:
        assert (outcome.disposition, outcome.retry_after_seconds) == (Disposition.RETRYABLE, 3.0)
    else:
        assert (outcome.disposition, outcome.retry_after_seconds) == (Disposition.PERMANENT, None)


@pytest.mark.parametrize(
    ("detail", "size", "disposition"),
    [
        ("grpc: received message larger than max (5 vs. 4)", SMALL, Disposition.TOO_LARGE),
        ("grpc: received message after decompression larger than max 4194304", SMALL, Disposition.TOO_LARGE),
        ("quota", LARGE, Disposition.TOO_LARGE),
        ("quota", 4 * 2**20, Disposition.PERMANENT),
        ("Stream removed (CLIENT: Received message larger than max (5 vs. 4))", LARGE, Disposition.PERMANENT),
    ],
)
def test_resource_exhausted_for_its_size_is_sent_in_halves(
    detail: str, size: int, disposition: Disposition
) -> None:
    """It is recognised by the server's text or by the size, and differs from an answer that is too large."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_grpc(code, detail, retry_after_seconds=None, payload_bytes=size).disposition is disposition


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (429, Disposition.THROTTLED),
        (413, Disposition.TOO_LARGE),
        *((status, Disposition.RETRYABLE) for status in (502, 503, 504)),
        *(
            (status, Disposition.PERMANENT)
            for status in (301, 302, 307, 308, 400, 401, 403, 404, 408, 500, 501)
        ),
    ],
)
def test_http_status_has_its_disposition(status: int, disposition: Disposition) -> None:
    """Four statuses are retried, and one is split."""
    outcome = from_http(status, "why", retry_after_seconds=2.0)
    assert outcome.disposition is disposition
    assert outcome.retry_after_seconds == (
        2.0 if disposition in {Disposition.RETRYABLE, Disposition.THROTTLED} else None
    )
    assert outcome.kind == f"http_{status}"


def test_wait_that_is_asked_for_is_bounded() -> None:
    """A wait of centuries is cut to an hour; a wait of zero means the usual backoff."""
    for asked, expected in ((1e12, 3_600.0), (0.0, None), (None, None)):
        assert from_http(503, "", retry_after_seconds=asked).retry_after_seconds == expected
        code = grpc.StatusCode.UNAVAILABLE
        outcome = from_grpc(code, "", retry_after_seconds=asked, payload_bytes=SMALL)
        assert outcome.retry_after_seconds == expected
