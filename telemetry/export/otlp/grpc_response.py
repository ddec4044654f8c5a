"""Classifies what gRPC servers answer: maps a status to the disposition of the batch.

Follows the OTLP specification, "Failures", as `response.py` does for HTTP.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from .response import bounded, escaped
from .result import Disposition, ExportResult

GRPC_SERVER_LIMIT_BYTES = 4 * 2**20
"""The default message size limit of gRPC servers."""

_RETRYABLE_GRPC_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_WITHOUT_ANSWER = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_TOO_LARGE_FOR_GRPC = "larger than max"
_SAID_BY_THE_CLIENT = "CLIENT: "
"""Marks an error of the gRPC library on this side: an answer over the limit."""
_TOO_LARGE_UNPACKED = "Decompressed message larger than max"
"""The same library's text on either side: about an answer, unless the request is over a server's limit."""
_GRPC_DETAILS_KEY = "grpc-status-details-bin"


def from_grpc_error(call: grpc.Call, payload_bytes: int) -> ExportResult:
    """Classifies a call that failed.

    Args:
        call: the failed call.
        payload_bytes: how large the request was.
    """
    return from_grpc(
        call.code(),
        escaped(call.details() or ""),
        retry_after_seconds=_retry_info_seconds(call),
        payload_bytes=payload_bytes,
    )


def from_grpc(
    code: grpc.StatusCode, detail: str, *, retry_after_seconds: float | None, payload_bytes: int
) -> ExportResult:
    """Classifies a gRPC status other than OK.

    Args:
        code: the status.
        detail: its message.
        retry_after_seconds: from RetryInfo; 0 means the usual backoff, None means that there was none.
        payload_bytes: how large the request was.
    """
    kind, text = code.name.lower(), f"{code.name}: {detail}"
    if code in _RETRYABLE_GRPC_CODES:
        return ExportResult(
            Disposition.RETRYABLE,
            kind,
            text,
            bounded(retry_after_seconds),
            # The library says so, too, when it finds no server.
            is_answered=code not in _WITHOUT_ANSWER or retry_after_seconds is not None,
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        is_small = payload_bytes <= GRPC_SERVER_LIMIT_BYTES
        if _SAID_BY_THE_CLIENT in detail or (_TOO_LARGE_UNPACKED in detail and is_small):
            return ExportResult(Disposition.PERMANENT, "answer_too_large", text)
        if retry_after_seconds is not None:
            return ExportResult(Disposition.THROTTLED, kind, text, bounded(retry_after_seconds))
        if _TOO_LARGE_FOR_GRPC in detail or not is_small:
            return ExportResult(Disposition.TOO_LARGE, kind, text)
    return ExportResult(Disposition.PERMANENT, kind, text)


def _retry_info_seconds(call: grpc.Call) -> float | None:
    """Reads the delay of RetryInfo from the status details in the trailing metadata."""
    metadata: Iterable[tuple[str, Any]] = call.trailing_metadata() or ()
    info = RetryInfo()
    for value in (value for key, value in metadata if key == _GRPC_DETAILS_KEY):
        with suppress(DecodeError):
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return max(0.0, seconds)
    return None
