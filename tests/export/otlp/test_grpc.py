"""OTLP over gRPC against real servers and raw sockets that misbehave on purpose."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import DebugInfo, RetryInfo
from google.rpc.status_pb2 import Status
from support.otlp_answers import partial_success
from support.raw_grpc_server import RawGrpcServer

from telemetry.export.otlp.grpc import TRACES_METHOD, GrpcTransport
from telemetry.export.otlp.result import Disposition, ExportResult

PAYLOAD = b"\x0a\x02\x0a\x00" * 10


@pytest.fixture
def server() -> Iterator[RawGrpcServer]:
    """A server that accepts everything unless a test changes its answer."""
    running = RawGrpcServer()
    yield running
    running.stop()


@pytest.fixture
def transport(server: RawGrpcServer) -> Iterator[GrpcTransport]:
    """A transport to the server."""
    made = GrpcTransport(f"127.0.0.1:{server.port}", headers={"x-tenant": "shop"})
    yield made
    made.close()


def send(transport: GrpcTransport, seconds: float = 5.0) -> ExportResult:
    """Sends one export."""
    return transport.send(PAYLOAD, seconds)


def test_request_is_what_the_specification_asks_for(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """Method, user headers and payload arrive unchanged."""
    assert send(transport) == ExportResult(Disposition.DELIVERED)
    ((method, metadata, request),) = server.requests
    assert method == TRACES_METHOD
    assert metadata["x-tenant"] == "shop"
    assert request == PAYLOAD


def test_compressed_request_arrives_whole(server: RawGrpcServer) -> None:
    """The server gets the original payload after decompression."""
    made = GrpcTransport(f"127.0.0.1:{server.port}", headers={}, is_compressed=True)
    assert send(made).disposition is Disposition.DELIVERED
    assert server.requests[0][2] == PAYLOAD
    made.close()


def details(*messages: Any, code: grpc.StatusCode, text: str = "no") -> bytes:
    """Returns `grpc-status-details-bin` as Go servers send it."""
    packed = []
    for message in messages:
        each = AnyMessage()
        each.Pack(message)
        packed.append(each)
    return Status(code=code.value[0], message=text, details=packed).SerializeToString()


def refuse(code: grpc.StatusCode, text: str = "no", status: bytes | None = None) -> Callable[..., bytes]:
    """Returns an answer that refuses."""

    def answer(context: grpc.ServicerContext) -> bytes:
        if status is not None:
            context.set_trailing_metadata((("other", "x"), ("grpc-status-details-bin", status)))
        context.abort(code, text)
        return b""

    return answer


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize(("delay", "expected"), [(2.5, 2.5), (0, None)])
def test_retry_info_is_read(
    code: grpc.StatusCode,
    delay: float,
    expected: float | None,
    transport: GrpcTransport,
    server: RawGrpcServer,
) -> None:
    """With RetryInfo, RESOURCE_EXHAUSTED means throttled; a delay of zero means the usual backoff."""
    info = RetryInfo(retry_delay=Duration(seconds=int(delay), nanos=int(delay % 1 * 1e9)))
    server.answer = refuse(code, "slower", details(DebugInfo(detail="x"), info, code=code))
    outcome = send(transport)
    assert outcome.retry_after_seconds == expected
    is_throttle = code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert outcome.disposition is (Disposition.THROTTLED if is_throttle else Disposition.RETRYABLE)
    assert "slower" in outcome.detail


def test_control_characters_of_an_answer_are_escaped(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """They can neither forge log lines nor control a terminal."""
    server.answer = refuse(grpc.StatusCode.INVALID_ARGUMENT, "a\nERROR b\x1b[31m\u2028c")
    assert send(transport).detail == "INVALID_ARGUMENT: a\\nERROR b\\x1b[31m\\u2028c"
    server.answer = lambda _: partial_success(2, "too\nold")
    assert send(transport).detail == "too\\nold"


@pytest.mark.parametrize(
    "status", [b"\xff\xff", details(code=grpc.StatusCode.UNAVAILABLE)], ids=["nonsense", "without"]
)
def test_details_without_retry_info_ask_for_nothing(
    status: bytes, transport: GrpcTransport, server: RawGrpcServer
) -> None:
    """Nonsense details and details without RetryInfo are ignored."""
    server.answer = refuse(grpc.StatusCode.UNAVAILABLE, status=status)
    outcome = send(transport)
    assert (outcome.disposition, outcome.retry_after_seconds) == (Disposition.RETRYABLE, None)


def test_servers_own_limit_asks_for_halves() -> None:
    """A real server's refusal of a large message is recognised by its text."""
    server = RawGrpcServer([("grpc.max_receive_message_length", 1_000)])
    made = GrpcTransport(f"127.0.0.1:{server.port}", headers={})
    outcome = made.send(bytes(2_000), 5)
    assert (outcome.disposition, outcome.kind) == (Disposition.TOO_LARGE, "resource_exhausted")
    assert "larger than max" in outcome.detail
    made.close()
    server.stop()


def test_partial_success_is_read(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """The result has the number of rejected spans and the reason."""
    server.answer = lambda _: partial_success(2, "too old")
    assert send(transport) == ExportResult(Disposition.DELIVERED, detail="too old", rejected=2)


def test_answer_over_the_limit_is_no_success(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """Here RESOURCE_EXHAUSTED comes from the client, about the answer; the batch is not sent again."""
    server.answer = lambda _: bytes(5 * 2**20)
    outcome = send(transport)
    assert (outcome.disposition, outcome.kind) == (Disposition.PERMANENT, "answer_too_large")


def test_nobody_listening_is_retryable(free_port: int) -> None:
    """Each export fails at once, without waiting for the channel's own backoff."""
    made = GrpcTransport(f"127.0.0.1:{free_port}", headers={})
    for _ in range(3):
        outcome = send(made)
        assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "unavailable")
    made.close()


def test_restarted_server_is_found_at_once(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """The backoff of gRPC itself, which grows to two minutes, does not apply."""
    assert send(transport).disposition is Disposition.DELIVERED
    server.stop()
    for _ in range(5):
        assert send(transport).disposition is Disposition.RETRYABLE
    server.start()
    assert send(transport).disposition is Disposition.DELIVERED


def test_server_that_does_not_answer_costs_the_deadline(
    transport: GrpcTransport, server: RawGrpcServer
) -> None:
    """The export takes no longer than its deadline."""
    release = threading.Event()

    def hold(_: grpc.ServicerContext) -> bytes:
        release.wait(20)
        return b""

    server.answer = hold
    started = time.monotonic()
    outcome = send(transport, 0.2)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "deadline_exceeded")
    assert time.monotonic() - started < 5
    release.set()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, int]]:
    """A socket that does not speak gRPC."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener, listener.getsockname()[1]
    listener.close()


def test_black_hole_costs_the_deadline(raw: tuple[socket.socket, int]) -> None:
    """The kernel accepts the connection, but nothing answers."""
    made = GrpcTransport(f"127.0.0.1:{raw[1]}", headers={})
    assert send(made, 0.2).disposition is Disposition.RETRYABLE
    made.close()


def test_port_of_another_protocol_is_retryable_and_reported(raw: tuple[socket.socket, int]) -> None:
    """The server answers a gRPC call with HTTP/1.1."""
    listener, port = raw

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    made = GrpcTransport(f"127.0.0.1:{port}", headers={})
    outcome = send(made)
    assert outcome.disposition is Disposition.RETRYABLE
    assert outcome.detail
    made.close()


def test_close_ends_an_export_that_is_under_way(transport: GrpcTransport, server: RawGrpcServer) -> None:
    """`close()` from another thread takes effect at once, and no later export starts."""
    arrived, release = threading.Event(), threading.Event()

    def hold(_: grpc.ServicerContext) -> bytes:
        arrived.set()
        release.wait(20)
        return b""

    server.answer = hold
    outcomes: list[ExportResult] = []
    thread = threading.Thread(target=lambda: outcomes.append(send(transport, 20)))
    thread.start()
    assert arrived.wait(5)
    transport.close()
    thread.join(5)
    assert not thread.is_alive()
    assert outcomes[0].disposition is Disposition.RETRYABLE
    assert send(transport).kind == "closed"
    release.set()
