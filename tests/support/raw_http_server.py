"""An HTTP server on raw sockets, for behaviour that server libraries do not allow."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """Returns a complete HTTP response."""
    kind = {"content-type": "application/x-protobuf", **{k.replace("_", "-"): v for k, v in headers.items()}}
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in kind.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class RawHttpServer:
    """A server that lets a script respond to each request, and keeps the requests.

    Args:
        context: for TLS; may be replaced by another one, for later connections.
        host: the address to listen on.
        port: the port; 0 for any.
    """

    def __init__(
        self, context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.context = context
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0
        self.script: Callable[[socket.socket], None] = lambda peer: peer.sendall(answer())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        if self.context is not None:
            peer = self.context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError), peer:
            if isinstance(peer, ssl.SSLSocket):
                peer.do_handshake()
            while self._read_request(peer):
                self.script(peer)

    def _read_request(self, peer: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = peer.recv(65536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        while len(body) < int(headers["content-length"]):
            body += peer.recv(65536)
        self.requests.append(({":line": lines[0], **headers}, body))
        return True

    def close(self) -> None:
        """Stops listening."""
        self._listener.close()


def drip(data: bytes) -> Callable[[socket.socket], None]:
    """Returns a script that sends a byte every 20 ms, faster than any timeout for one operation."""

    def script(peer: socket.socket) -> None:
        for position in range(len(data)):
            peer.sendall(data[position : position + 1])
            time.sleep(0.02)

    return script
