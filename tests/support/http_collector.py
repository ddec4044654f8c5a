"""A Collector that misbehaves on purpose: OTLP over HTTP, on a real socket of loopback."""

import gzip
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.collector import Collector, Reply


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, collector: "HttpCollector", context: ssl.SSLContext | None) -> None:
        self.collector = collector
        self._context = context
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", collector.port), _HttpHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leaves the handshake to the connection's own thread."""
        peer, address = super().get_request()
        if self._context is not None:
            peer = self._context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        self._connections.add(peer)
        return peer, address

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores errors: clients that give up are part of the tests."""

    def hang_up(self) -> None:
        """Ends every connection."""
        for peer in tuple(self._connections):
            with suppress(OSError):
                socket.socket.shutdown(peer, socket.SHUT_RDWR)


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_POST(self) -> None:
        """Answers one export."""
        collector = self.server.collector
        length = int(self.headers["content-length"])
        if collector.refuses_unread_bytes is not None and length > collector.refuses_unread_bytes:
            self.close_connection = True
            self._send(Reply(status=413, text="too much"))
            return
        payload = self.rfile.read(length)
        if self.headers.get("content-encoding") == "gzip":
            payload = gzip.decompress(payload)
        self._send(collector.reply_to(payload))

    def _send(self, reply: Reply) -> None:
        is_success = reply.status < 300
        body = reply.body if is_success else reply.text.encode()
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if reply.is_packed:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if not reply.is_endless:
            headers["Content-Length"] = str(len(body))
        lines = [f"HTTP/1.1 {reply.status} Reason", *(f"{key}: {value}" for key, value in headers.items())]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)
        while reply.is_endless:  # until the client hangs up
            self.wfile.write(bytes(2**16))

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


class HttpCollector(Collector):
    """OTLP over HTTP.

    Args:
        certificate: the TLS certificate and its key; None for plain text.
    """

    protocol = "http/protobuf"

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.refuses_unread_bytes: int | None = None
        """A longer request gets a 413 before it is read, and its connection is reset."""
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._server: _HttpServer | None = None
        self.start()

    @property
    def scheme(self) -> str:
        """The URL's scheme, https with a certificate."""
        return "http" if self._context is None else "https"

    def start(self) -> None:
        """Listens, again on the same port after `stop()`."""
        self._server = _HttpServer(self, self._context)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Ends every connection; new ones are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None
