"""What the tests of the HTTP transport share."""

import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.result import ExportResult

PAYLOAD = b"\x0a\x02\x0a\x00" * 100


def send(transport: HttpTransport, seconds: float = 5.0) -> ExportResult:
    """Sends one export."""
    return transport.send(PAYLOAD, seconds)


def server_context(certificate: tuple[Path, Path], *, clients: Path | None = None) -> ssl.SSLContext:
    """Returns the TLS context of a server.

    Args:
        certificate: its certificate and key.
        clients: the authority of client certificates, which are then required.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def close(peer: socket.socket) -> None:
    """Hangs up; over TLS without a word."""
    socket.socket.shutdown(peer, socket.SHUT_RDWR)


def reset(peer: socket.socket) -> None:
    """Hangs up with a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def close_notify(peer: socket.socket) -> None:
    """Ends the TLS session and leaves the connection open."""
    assert isinstance(peer, ssl.SSLSocket)
    peer.settimeout(0.05)
    with suppress(OSError):  # the client's own end of the session does not come
        peer.unwrap()
