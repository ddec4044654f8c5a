"""A Collector that misbehaves on purpose, for either protocol: its requests and its replies."""

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
    """A reply for both protocols; each uses its own fields."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    retry_info_seconds: float | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "on purpose"
    """gRPC's message, and the HTTP body of a refusal."""
    body: bytes = b""
    """The body of a success."""
    content_type: str = "application/x-protobuf"
    is_packed: bool = False
    """Whether the body is compressed with gzip."""
    is_endless: bool = False
    """Whether the HTTP body never ends."""


ACCEPT = Reply()
UNWELL = Reply(code=grpc.StatusCode.UNAVAILABLE, status=503)


@dataclass(slots=True)
class Request:
    """One export that arrived completely."""

    number: int
    """From 1."""
    at: float
    """On the monotonic clock."""
    size_bytes: int
    names: list[str]
    """The names of its spans."""
    spans: list[Any]
    is_taken: bool = False
    """Whether the reply was a success."""


class Collector:
    """The base of both kinds: the requests that arrived, and the script that replies to them."""

    protocol = ""

    def __init__(self) -> None:
        self.port = 0
        self.script: Callable[[Request], Reply] = lambda _: ACCEPT
        self.release = threading.Event()
        """Releases the requests that `hang` holds."""
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @property
    def scheme(self) -> str:
        """The URL's scheme, without TLS."""
        return "http"

    @property
    def endpoint(self) -> str:
        """The address that it listens on, or listened on."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """Everything that arrived, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def arrived(self) -> list[str]:
        """The names of all spans that arrived, including repetitions."""
        return [name for request in self.requests for name in request.names]

    @property
    def taken(self) -> list[str]:
        """The names of the spans whose request got a success as reply."""
        return [name for request in self.requests if request.is_taken for name in request.names]

    def hang(self, _: Request) -> Reply:
        """A script that replies only when it is released."""
        self.release.wait(LONGEST_HANG_SECONDS)
        return ACCEPT

    def reply_to(self, payload: bytes) -> Reply:
        """Keeps a request and returns the script's reply."""
        spans = []
        with suppress(DecodeError):  # metrics get a reply, too
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
