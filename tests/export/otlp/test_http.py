"""OTLP over HTTP against raw sockets that misbehave on purpose."""

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.otlp_answers import partial_success
from support.raw_http_server import RawHttpServer, answer, drip

from telemetry.export.otlp import http_response
from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.otlp.tls import TlsFiles

PAYLOAD = b"\x0a\x02\x0a\x00" * 100


@pytest.fixture
def server() -> Iterator[RawHttpServer]:
    """A server that answers 200 unless a test changes its script."""
    running = RawHttpServer()
    yield running
    running.close()


@pytest.fixture
def transport(server: RawHttpServer) -> Iterator[HttpTransport]:
    """A transport to the server."""
    made = HttpTransport(f"http://127.0.0.1:{server.port}/v1/traces", headers={"x-tenant": "shop"})
    yield made
    made.close()


def send(transport: HttpTransport, seconds: float = 5.0) -> ExportResult:
    """Sends one export."""
    return transport.send(PAYLOAD, seconds)


def test_request_is_what_the_specification_asks_for(transport: HttpTransport, server: RawHttpServer) -> None:
    """Method, path, content type, user headers and payload are as specified."""
    assert send(transport) == ExportResult(Disposition.DELIVERED)
    ((headers, body),) = server.requests
    assert headers[":line"] == "POST /v1/traces HTTP/1.1"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-tenant"] == "shop"
    assert "content-encoding" not in headers
    assert body == PAYLOAD


def test_connection_is_kept(transport: HttpTransport, server: RawHttpServer) -> None:
    """Three exports use one connection."""
    for _ in range(3):
        assert send(transport).disposition is Disposition.DELIVERED
    assert server.connections == 1


def test_compressed_request_unpacks_to_the_payload(server: RawHttpServer) -> None:
    """The request has the matching `content-encoding` header."""
    made = HttpTransport(f"http://127.0.0.1:{server.port}/", headers={}, is_compressed=True)
    assert send(made).disposition is Disposition.DELIVERED
    ((headers, body),) = server.requests
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == PAYLOAD
    assert len(body) < len(PAYLOAD)
    made.close()


def test_connection_that_the_server_closed_meanwhile_is_made_anew(
    transport: HttpTransport, server: RawHttpServer
) -> None:
    """Restarting the Collector between two exports loses nothing."""

    def answer_and_hang_up(peer: socket.socket) -> None:
        peer.sendall(answer())
        peer.shutdown(socket.SHUT_RDWR)

    server.script = answer_and_hang_up
    for _ in range(3):
        assert send(transport).disposition is Disposition.DELIVERED
    assert server.connections == 3


@pytest.mark.parametrize(
    ("status", "headers", "disposition", "seconds"),
    [
        ("429 Too Many Requests", {}, Disposition.THROTTLED, None),
        ("429 Too Many Requests", {"Retry_After": "7"}, Disposition.THROTTLED, 7),
        ("503 Service Unavailable", {"Retry_After": "12"}, Disposition.RETRYABLE, 12),
        ("503 Service Unavailable", {"Retry_After": "soon"}, Disposition.RETRYABLE, None),
        ("502 Bad Gateway", {}, Disposition.RETRYABLE, None),
        ("504 Gateway Timeout", {}, Disposition.RETRYABLE, None),
        ("413 Content Too Large", {}, Disposition.TOO_LARGE, None),
        *(
            (f"{status} No", {}, Disposition.PERMANENT, None)
            for status in (400, 401, 403, 404, 408, 500, 501)
        ),
    ],
)
def test_status_has_its_disposition(
    status: str,
    headers: dict[str, str],
    disposition: Disposition,
    seconds: float | None,
    transport: HttpTransport,
    server: RawHttpServer,
) -> None:
    """Statuses follow the specification's table; Retry-After and the body's text are read."""
    server.script = lambda peer: peer.sendall(answer(status, b"because", **headers))
    outcome = send(transport)
    assert (outcome.disposition, outcome.retry_after_seconds) == (disposition, seconds)
    assert outcome.kind == f"http_{status.split(maxsplit=1)[0]}"
    assert "because" in outcome.detail


def test_retry_after_may_be_a_date(transport: HttpTransport, server: RawHttpServer) -> None:
    """A future date is a wait; a past one is ignored."""
    for offset, expected in ((100, range(90, 101)), (-100, range(1))):
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=offset), usegmt=True)
        server.script = lambda peer, at=at: peer.sendall(answer("503 No", Retry_After=at))  # type: ignore[misc]
        assert round(send(transport).retry_after_seconds or 0) in expected


def test_collectors_own_words_for_too_large_split(transport: HttpTransport, server: RawHttpServer) -> None:
    """The Collector answers 400, not 413."""
    server.script = lambda peer: peer.sendall(answer("400 Bad Request", b"http: request body too large"))
    assert send(transport).disposition is Disposition.TOO_LARGE


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_that_names_where_to(
    status: int, transport: HttpTransport, server: RawHttpServer
) -> None:
    """Following it with GET would return 200 and lose the spans."""
    server.script = lambda peer: peer.sendall(answer(f"{status} Moved", Location="https://other.example/"))
    outcome = send(transport)
    assert outcome.disposition is Disposition.PERMANENT
    assert "https://other.example/" in outcome.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "detail"),
    [
        ("400 Bad\x1b[0m", b"a\nERROR b", {}, "HTTP 400: Bad\\x1b[0m a\\nERROR b"),
        ("302 Found", b"", {"Location": "http://x/\x1b[31m"}, "redirects to http://x/\\x1b[31m:"),
        ("200 OK", b"x", {"content_type": "text/\x1bx"}, "the answer is text/\\x1bx, not OTLP"),
    ],
)
def test_control_characters_of_an_answer_are_escaped(
    status: str,
    body: bytes,
    headers: dict[str, str],
    detail: str,
    transport: HttpTransport,
    server: RawHttpServer,
) -> None:
    """They can neither forge log lines nor control a terminal."""
    kind = headers.pop("content_type", None)
    made = answer(status, body, **headers)
    if kind is not None:
        made = made.replace(b"application/x-protobuf", kind.encode())
    server.script = lambda peer: peer.sendall(made)
    assert detail in send(transport).detail


@pytest.mark.parametrize(("rejected", "message"), [(3, "too old"), (0, "be careful")])
def test_partial_success_is_read(
    rejected: int, message: str, transport: HttpTransport, server: RawHttpServer
) -> None:
    """The result has the number of rejected spans and the Collector's message."""
    server.script = lambda peer: peer.sendall(answer(body=partial_success(rejected, message)))
    assert send(transport) == ExportResult(Disposition.DELIVERED, detail=message, rejected=rejected)


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_empty_body_is_success(status: str, transport: HttpTransport, server: RawHttpServer) -> None:
    """Many servers answer this way."""
    server.script = lambda peer: peer.sendall(answer(status))
    assert send(transport) == ExportResult(Disposition.DELIVERED)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html; charset=utf-8", b"<html>"), ("application/x-protobuf", b"\xff\xff\xff")]
)
def test_answer_that_is_no_otlp_is_success_with_a_suspicion(
    kind: str, body: bytes, transport: HttpTransport, server: RawHttpServer
) -> None:
    """Such an answer is most likely a proxy's page."""
    server.script = lambda peer: peer.sendall(answer(body=body, content_type=kind))
    outcome = send(transport)
    assert outcome.disposition is Disposition.DELIVERED
    assert "is this endpoint a Collector?" in outcome.detail


@pytest.mark.parametrize("is_packed", [False, True])
def test_answer_without_end_is_cut_off(
    is_packed: bool, transport: HttpTransport, server: RawHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes answers that are only large when decompressed; the connection is not reused."""
    monkeypatch.setattr(http_response, "LONGEST_RESPONSE_BYTES", 10_000)
    body = gzip.compress(bytes(10_000_000)) if is_packed else bytes(20_000)
    headers = {"Content_Encoding": "gzip"} if is_packed else {}
    server.script = lambda peer: peer.sendall(answer(body=body, **headers))
    outcome = send(transport)
    assert (outcome.disposition, outcome.kind) == (Disposition.PERMANENT, "answer_too_large")
    send(transport)
    assert server.connections == 2


def test_nobody_listening_is_retryable(free_port: int) -> None:
    """The error names the port."""
    outcome = send(HttpTransport(f"http://127.0.0.1:{free_port}/", headers={}))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "connection")
    assert str(free_port) in outcome.detail


def test_name_that_does_not_exist_is_retryable() -> None:
    """DNS may recover."""
    outcome = send(HttpTransport("http://no-such-host.invalid:4318/", headers={}))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "dns")
    assert "no-such-host.invalid" in outcome.detail


def test_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """`getaddrinfo` has no timeout of its own."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) or [])
    started = time.monotonic()
    assert send(HttpTransport("http://slow.example:4318/", headers={}), 0.2).kind == "timeout"
    release.set()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("data", [answer(), answer(body=bytes(5_000)), b""], ids=["head", "body", "silence"])
def test_deadline_is_the_whole_exchanges(
    data: bytes, transport: HttpTransport, server: RawHttpServer
) -> None:
    """It holds for a slowly dripping answer and for none at all."""
    server.script = drip(data * 10) if data else lambda _: time.sleep(20)
    started = time.monotonic()
    outcome = send(transport, 0.3)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "timeout")
    # Each of these would take more than ten times the deadline.
    assert time.monotonic() - started < 3


def test_server_that_never_reads_is_given_up() -> None:
    """The deadline includes sending."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}/", headers={})
    outcome = made.send(bytes(50_000_000), 0.3)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "timeout")
    listener.close()


def test_disconnect_before_the_answer_is_retryable(transport: HttpTransport, server: RawHttpServer) -> None:
    """A duplicate is allowed; a loss is not."""
    server.script = lambda peer: peer.shutdown(socket.SHUT_RDWR)
    outcome = send(transport)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "connection")


def test_answer_of_another_protocol_is_reported(transport: HttpTransport, server: RawHttpServer) -> None:
    """A gRPC port answers with an HTTP/2 frame."""
    server.script = lambda peer: peer.sendall(
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00\n"
    )
    outcome = send(transport)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "protocol")
    assert "port of another protocol" in outcome.detail


def test_close_ends_an_export_that_is_under_way(transport: HttpTransport, server: RawHttpServer) -> None:
    """`close()` from another thread takes effect at once, and no later export starts."""
    arrived = threading.Event()

    def hold(_: socket.socket) -> None:
        arrived.set()
        time.sleep(20)

    server.script = hold
    outcomes: list[ExportResult] = []
    thread = threading.Thread(target=lambda: outcomes.append(send(transport, 20)))
    thread.start()
    assert arrived.wait(5)
    transport.close()
    thread.join(5)
    assert not thread.is_alive()
    assert outcomes[0].disposition is Disposition.RETRYABLE
    assert send(transport).kind == "closed"


@pytest.fixture
def certificate(certificates: dict[str, tuple[Path, Path]]) -> tuple[Path, Path]:
    """A localhost certificate and its key."""
    return certificates["valid"]


def tls_server(certificate: tuple[Path, Path]) -> RawHttpServer:
    """Returns a server with that certificate, which requires a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate[0])
    return RawHttpServer(context)


def test_tls_with_certificates_on_both_sides(certificate: tuple[Path, Path]) -> None:
    """Mutual TLS works, and the deadline applies."""
    server = tls_server(certificate)
    file, key = map(str, certificate)
    tls = TlsFiles(authority=file, certificate=file, key=key)
    made = HttpTransport(f"https://localhost:{server.port}/", tls=tls, headers={})
    for _ in range(2):
        assert send(made) == ExportResult(Disposition.DELIVERED)
    server.script = drip(answer(body=bytes(1_000)))
    assert send(made, 0.3).kind == "timeout"
    made.close()
    server.close()


def test_certificate_of_a_stranger_is_reported(certificate: tuple[Path, Path]) -> None:
    """The error names the certificate, and is retryable since certificates are renewed."""
    server = tls_server(certificate)
    made = HttpTransport(f"https://localhost:{server.port}/", tls=TlsFiles(), headers={})
    outcome = send(made)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "tls")
    assert "certificate" in outcome.detail
    server.close()
