"""A Collector that misbehaves on purpose, of either protocol: what came to it, and how it answers."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

LONGEST_HANG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, for both protocols; each reads its own half."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    retry_info_seconds: float | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "on purpose"
    """gRPC's message, and the HTTP body of a refusal."""
    body: bytes = b""
    """Of a success."""
    content_type: str = "application/x-protobuf"
    is_packed: bool = False
    """Whether the body goes with gzip."""
    is_endless: bool = False
    """Whether the HTTP body never ends."""


ACCEPT = Reply()
UNWELL = Reply(code=grpc.StatusCode.UNAVAILABLE, status=503)


@dataclass(slots=True)
class Request:
    """One export that arrived whole."""

    number: int
    """From 1."""
    at: float
    """On the monotonic clock."""
    size_bytes: int
    names: list[str]
    """Of its spans."""
    spans: list[Any]
    is_taken: bool = False
    """Whether the answer was success."""


class Collector:
    """What both kinds have in common: what came, and the script that answers it."""

    protocol = ""

    def __init__(self) -> None:
        self.port = 0
        self.script: Callable[[Request], Reply] = lambda _: ACCEPT
        self.release = threading.Event()
        """Ends what `hang` holds."""
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @property
    def scheme(self) -> str:
        """Without TLS."""
        return "http"

    @property
    def endpoint(self) -> str:
        """Where it listens, or listened."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """Everything that arrived, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def arrived(self) -> list[str]:
        """The names of all spans that arrived, as often as they did."""
        return [name for request in self.requests for name in request.names]

    @property
    def taken(self) -> list[str]:
        """The names of those whose request was answered with success."""
        return [name for request in self.requests if request.is_taken for name in request.names]

    def hang(self, _: Request) -> Reply:
        """A script that answers only when it is released."""
        self.release.wait(LONGEST_HANG_SECONDS)
        return ACCEPT

    def reply_to(self, payload: bytes) -> Reply:
        """Keeps a request and asks the script."""
        spans = []
        with suppress(DecodeError):  # metrics are answered too
            message = ExportTraceServiceRequest.FromString(payload)
            spans = [
                span for each in message.resource_spans for scope in each.scope_spans for span in scope.spans
            ]
        with self._lock:
            number = len(self._requests) + 1
            names = [span.name for span in spans]
            request = Request(number, time.monotonic(), len(payload), names, spans)
            self._requests.append(request)
        reply = self.script(request)
        request.is_taken = reply.code is grpc.StatusCode.OK and reply.status < 300
        return reply

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends every connection; new ones are refused."""
        raise NotImplementedError
