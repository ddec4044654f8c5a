"""A forward proxy as companies run them, on raw sockets: it forwards, tunnels and refuses."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress


class ForwardProxy:
    """A proxy that knows every name as loopback.

    Args:
        context: for TLS between client and proxy.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context = context
        self.credentials: str | None = None
        """The value of `Proxy-Authorization` that it asks for."""
        self.heads: list[list[str]] = []
        """The lines of each head that it was asked with."""
        self.connections = 0
        self.refusal: bytes | None = None
        """What it answers instead of doing what it is asked."""
        self.script: Callable[[socket.socket], None] | None = None
        """What it does instead of answering."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
            self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        with peer:
            while head := self._read_head(peer):
                self.heads.append(head)
                body = _read_body(peer, head)
                if self.script is not None:
                    self.script(peer)
                elif self.refusal is not None:
                    peer.sendall(self.refusal)
                elif self.credentials and f"Proxy-Authorization: {self.credentials}" not in head:
                    peer.sendall(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                        b'Proxy-Authenticate: Basic realm="company"\r\nContent-Length: 0\r\n\r\n'
                    )
                elif head[0].startswith("CONNECT "):
                    self._tunnel(peer, head)
                    return
                else:
                    self._forward(peer, head, body)

    def _read_head(self, peer: socket.socket) -> list[str]:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            part = peer.recv(1)
            if not part:
                return []
            data += part
        return data.decode("latin-1").split("\r\n")[:-2]

    def _tunnel(self, peer: socket.socket, head: list[str]) -> None:
        port = int(head[0].split()[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as server:
            peer.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 company\r\n\r\n")
            thread = threading.Thread(target=_pump, args=(server, peer), daemon=True)
            thread.start()
            _pump(peer, server)
            thread.join()

    def _forward(self, peer: socket.socket, head: list[str], body: bytes) -> None:
        method, url, version = head[0].split()
        authority, slash, path = url.removeprefix("http://").partition("/")
        lines = [f"{method} {slash}{path} {version}", *head[1:]]
        with socket.create_connection(("127.0.0.1", int(authority.rpartition(":")[2]))) as server:
            server.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            peer.sendall(server.recv(65536))


def _read_body(peer: socket.socket, head: list[str]) -> bytes:
    length = sum(int(line.split(": ")[1]) for line in head if line.startswith("Content-Length: "))
    body = b""
    while len(body) < length and (part := peer.recv(length - len(body))):
        body += part
    return body


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
