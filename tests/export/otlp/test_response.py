"""From answers to fates: the OTLP specification's table."""

import grpc
import pytest

from telemetry.export.otlp.response import Fate, from_grpc, from_http

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
def test_grpc_status_has_its_fate(code: grpc.StatusCode) -> None:
    """Every status is decided, and named for the metric."""
    outcome = from_grpc(code, "why", retry_after_seconds=None, payload_bytes=SMALL)
    assert outcome.fate is (Fate.RETRY if code in RETRYABLE else Fate.POISON)
    assert outcome.kind == code.name.lower()
    assert "why" in outcome.detail


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_retry_info_matters_to_what_may_be_retried_only(code: grpc.StatusCode) -> None:
    """And turns RESOURCE_EXHAUSTED into a request for patience."""
    outcome = from_grpc(code, "why", retry_after_seconds=3.0, payload_bytes=LARGE)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert (outcome.fate, outcome.retry_after_seconds) == (Fate.THROTTLE, 3.0)
    elif code in RETRYABLE:
        assert (outcome.fate, outcome.retry_after_seconds) == (Fate.RETRY, 3.0)
    else:
        assert (outcome.fate, outcome.retry_after_seconds) == (Fate.POISON, None)


@pytest.mark.parametrize(
    ("detail", "size", "fate"),
    [
        ("grpc: received message larger than max (5 vs. 4)", SMALL, Fate.SPLIT),
        ("grpc: received message after decompression larger than max 4194304", SMALL, Fate.SPLIT),
        ("quota", LARGE, Fate.SPLIT),
        ("quota", 4 * 2**20, Fate.POISON),
        ("Stream removed (CLIENT: Received message larger than max (5 vs. 4))", LARGE, Fate.POISON),
    ],
)
def test_resource_exhausted_for_its_size_is_sent_in_halves(detail: str, size: int, fate: Fate) -> None:
    """Known by the server's words or by the size; an answer that is too large is another matter."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_grpc(code, detail, retry_after_seconds=None, payload_bytes=size).fate is fate


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (429, Fate.THROTTLE),
        (413, Fate.SPLIT),
        *((status, Fate.RETRY) for status in (502, 503, 504)),
        *((status, Fate.POISON) for status in (301, 302, 307, 308, 400, 401, 403, 404, 408, 500, 501)),
    ],
)
def test_http_status_has_its_fate(status: int, fate: Fate) -> None:
    """Four statuses are worth another try, one is worth halves."""
    outcome = from_http(status, "why", retry_after_seconds=2.0)
    assert outcome.fate is fate
    assert outcome.retry_after_seconds == (2.0 if fate in {Fate.RETRY, Fate.THROTTLE} else None)
    assert outcome.kind == f"http_{status}"


def test_wait_that_is_asked_for_is_bounded() -> None:
    """A server that asks for centuries gets an hour; one that asks for nothing, the usual back-off."""
    for asked, expected in ((1e12, 3_600.0), (0.0, None), (None, None)):
        assert from_http(503, "", retry_after_seconds=asked).retry_after_seconds == expected
        code = grpc.StatusCode.UNAVAILABLE
        outcome = from_grpc(code, "", retry_after_seconds=asked, payload_bytes=SMALL)
        assert outcome.retry_after_seconds == expected
