"""A TCP relay between a service and the Collector that counts the bytes on the wire.

gRPC tells nobody how large a compressed request is, so it is counted where it passes.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_PART_BYTES = 65_536


class Relay:
    """Passes connections on, and counts what the client sends. Thread-safe.

    Threads: one accepts, and each connection has two, which end with it.

    Args:
        listen: host and port.
        target: host and port of the server.
    """

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(listen)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._sent_bytes = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        """Begins to accept connections."""
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops listening and ends every connection."""
        with self._lock:
            self._is_closed = True
            sockets = tuple(self._sockets)
        for each in (self._listener, *sockets):
            _end(each)
        self._listener.close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def sent_bytes(self) -> int:
        """How many bytes clients have sent so far."""
        with self._lock:
            return self._sent_bytes

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # as the client would have seen without a relay
                client.close()
                continue
            with self._lock:
                is_closed = self._is_closed
                self._sockets |= {client, server}
            if is_closed:
                _end(client)
                _end(server)
            for source, sink, is_counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, is_counted), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        with suppress(OSError):
            while part := source.recv(_PART_BYTES):
                if is_counted:
                    with self._lock:
                        self._sent_bytes += len(part)
                sink.sendall(part)
        _end(source)
        _end(sink)
        with self._lock:
            self._sockets.discard(source)
        source.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # already ended by the other side
        connection.shutdown(socket.SHUT_RDWR)
