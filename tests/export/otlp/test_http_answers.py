"""Answers in every form that HTTP/1.1 allows, and in some that it does not.

The kinds are those that the tests of `http.client` and urllib3 know: chunks with extensions, trailers and a
missing end; interim answers; status lines of other protocols; no reason; folded, long and many headers;
HTTP/1.0 with and without keep-alive; `Connection: close`; bodies until the end, cut off, or in single bytes;
answers before the request is sent. Beside this module: connections that ended while idle
(`test_http_kept_connections.py`), IPv6 and several addresses (`test_http_connecting.py`), the request's own
head (`test_http_headers.py`), tunnels (`test_http_proxy.py`); endless answers, packed ones and deadlines
(`test_http.py`).
"""

import gzip
import socket
from collections.abc import Callable

import pytest
from support.http_transport import PAYLOAD, close, reset, send
from support.otlp_answers import partial_success
from support.raw_http_server import RawHttpServer, answer

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.result import Disposition, ExportResult

MakeTransport = Callable[..., HttpTransport]
PARTIAL = partial_success(3, "too old")
REJECTED = ExportResult(Disposition.DELIVERED, detail="too old", rejected=3)
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(body: bytes, size: int, *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Returns a body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    whole = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return whole + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + chunks(PARTIAL, 4),
        CHUNKED + chunks(PARTIAL, 1000, extension=b';name="value"'),
        CHUNKED + chunks(PARTIAL, 5, trailers=b"Server-Timing: x\r\nX-Checksum: y\r\n"),
        CHUNKED.replace(b"chunked", b"Chunked") + chunks(PARTIAL, 7),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=PARTIAL),
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + answer(body=PARTIAL),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + answer(body=PARTIAL),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + CHUNKED + chunks(PARTIAL, 9),
        answer(body=gzip.compress(PARTIAL), Content_Encoding="gzip"),
        answer(body=PARTIAL, X_Long="x" * 60_000),
        answer(body=PARTIAL, **{f"X_{number}": "y" for number in range(90)}),
        answer(body=PARTIAL, X_Folded="one\r\n two\r\n\tthree"),
        answer("200", body=PARTIAL),
        answer(body=PARTIAL).replace(b"\r\n", b"\n", 3),
        answer(body=PARTIAL, Connection="Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=[
        "chunks", "extension", "trailers", "case", "100", "102", "103", "100 and 103", "gzip", "long header",
        "many headers", "folded", "no reason", "bare line feeds", "HTTP/1.0 kept",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_split", [False, True], ids=["at once", "split"])
def test_answer_is_read_to_its_end_and_the_connection_kept(
    data: bytes, is_split: bool, server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """However it is framed, and wherever the network cuts it, it is the same partial success."""

    def script(peer: socket.socket) -> None:
        size = 1 if is_split and len(data) < 5_000 else 1_000 if is_split else len(data)
        for at in range(0, len(data), size):
            peer.sendall(data[at : at + size])

    server.script = script
    made = make_transport(server)
    assert [send(made), send(made)] == [REJECTED, REJECTED]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("data", "hangs_up"),
    [
        (answer(body=PARTIAL, Connection="close"), False),
        (answer(body=PARTIAL, Connection="Upgrade, Close"), False),
        (answer(body=PARTIAL).replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n" + PARTIAL, True),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n" + PARTIAL, True),
    ],
    ids=["close", "close in a list", "HTTP/1.0", "until the end", "HTTP/1.0 until the end"],
)
def test_answer_after_which_the_connection_ends(
    data: bytes, hangs_up: bool, server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """The answer counts, and the next export has a new connection even if the server has not hung up yet."""

    def script(peer: socket.socket) -> None:
        peer.sendall(data)
        if hangs_up:
            close(peer)

    server.script = script
    made = make_transport(server)
    assert [send(made), send(made)] == [REJECTED, REJECTED]
    assert server.connections == 2


@pytest.mark.parametrize("leave", [close, reset])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "connection"),
        (b"HTTP/1.1 20", "protocol"),
        (b"HTTP/1.1 200 OK\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection"),
        (answer(body=PARTIAL).partition(b"\r\n\r\n")[0], "connection"),
        (answer(body=PARTIAL)[:-1], "connection"),
        (answer(body=PARTIAL)[: -len(PARTIAL)], "connection"),
        ((CHUNKED + chunks(PARTIAL, 5))[:-9], "connection"),
        (CHUNKED + b"5\r\nab", "connection"),
        (CHUNKED, "connection"),
        (CHUNKED + b"no number\r\n", "connection"),
    ],
    ids=[
        "nothing",
        "status",
        "head",
        "header",
        "head's end",
        "body",
        "no body",
        "no last chunk",
        "chunk",
        "no chunk",
        "no length",
    ],
)
def test_success_that_breaks_off_is_retried(
    data: bytes,
    kind: str,
    leave: Callable[[socket.socket], None],
    server: RawHttpServer,
    make_transport: MakeTransport,
) -> None:
    """What was rejected is not known, and a duplicate is better than a loss that nobody counts."""

    def script(peer: socket.socket) -> None:
        peer.sendall(data)
        leave(peer)

    server.script = script
    outcome = send(make_transport(server))
    assert outcome.disposition is Disposition.RETRYABLE
    # A RST may overtake what was sent before it.
    assert outcome.kind in {kind, "connection"}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "disposition"),
    [("400 No", Disposition.PERMANENT), ("413 No", Disposition.TOO_LARGE), ("503 No", Disposition.RETRYABLE)],
)
@pytest.mark.parametrize("is_body", [True, False], ids=["body", "head"])
def test_error_is_its_status_though_the_rest_breaks_off(
    is_body: bool, status: str, disposition: Disposition, server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """A refusal must not be repeated for want of its reason."""

    def script(peer: socket.socket) -> None:
        peer.sendall(answer(status, b"because")[: -4 if is_body else -20])
        close(peer)

    server.script = script
    made = make_transport(server)
    outcome = send(made)
    assert (outcome.disposition, outcome.kind) == (disposition, f"http_{status[:3]}")
    server.script = lambda peer: peer.sendall(answer())
    assert send(made).disposition is Disposition.DELIVERED


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        answer(X_Long="x" * 70_000),
        b"HTTP/1.1 " + b"2" * 70_000,
        answer(**{f"X_{number}": "y" for number in range(150)}),
        b"HTTP/1.1 103 Hints\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(150)) + b"\r\n",
    ],
    ids=["frame", "mail", "version", "status", "101", "long header", "long status", "headers", "hints"],
)  # fmt: skip
def test_what_is_no_answer_is_retried_and_named(
    data: bytes, server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """Most likely it is another program's port, which may be set right; nothing grows without bound."""

    def script(peer: socket.socket) -> None:
        peer.sendall(data)
        close(peer)

    server.script = script
    outcome = send(make_transport(server))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "protocol")
    assert str(server.port) in outcome.detail


def test_interim_answers_without_end_are_given_up(
    server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """The deadline holds for a server that always promises."""

    def script(peer: socket.socket) -> None:
        while True:
            peer.sendall(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100)

    server.script = script
    assert send(make_transport(server), 0.3).kind == "timeout"


class EarlyServer(RawHttpServer):
    """A server that answers before it has read the body."""

    leaves: Callable[[socket.socket], None] = staticmethod(close)

    def _read_request(self, peer: socket.socket) -> bool:
        if not peer.recv(10_000):
            return False
        self.requests.append(({}, b""))
        peer.sendall(answer("413 Content Too Large", b"too much"))
        type(self).leaves(peer)
        return False


def drain(peer: socket.socket) -> None:
    """Reads what is left of the request, as nginx does."""
    read = 0
    while read < 20_000_000 and (part := peer.recv(1_000_000)):
        read += len(part)


@pytest.mark.parametrize("leave", [reset, drain])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_answer_that_comes_before_the_request_is_sent(
    leave: Callable[[socket.socket], None],
    is_tls: bool,
    tls_server: RawHttpServer,
    make_transport: MakeTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that refuses by the head alone is heard, though sending fails: the batch must be halved."""
    monkeypatch.setattr(EarlyServer, "leaves", staticmethod(leave))
    early = EarlyServer(tls_server.context if is_tls else None)
    made = make_transport(early)
    outcome = made.send(PAYLOAD + bytes(20_000_000), 10)
    assert outcome.disposition is Disposition.TOO_LARGE
    early.close()
