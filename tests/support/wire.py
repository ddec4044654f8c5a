"""Faulty networks between a client and a Collector: a wire that cuts, freezes or drips, and a black hole."""

import socket
import threading
from contextlib import suppress


class Wire:
    """A TCP proxy between a client and a Collector, which cuts, freezes or drips.

    Args:
        target_port: the Collector's port.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.drip_seconds = 0.0
        """The time between two bytes of a response."""
        self._over = threading.Event()
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._connections)

    def cut(self) -> None:
        """Ends every connection, and loses the data in transit."""
        for connection in self._connections:
            connection.close()

    def freeze(self) -> None:
        """Silently lets nothing more through the existing connections; new ones work."""
        for connection in self._connections:
            connection.is_frozen = True

    def close(self) -> None:
        """Stops listening and ends every connection."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                peer.close()
                continue
            connection = _Connection(peer, server)
            self._connections.append(connection)
            for answers in (False, True):
                threading.Thread(target=self._pump, args=(connection, answers), daemon=True).start()

    def _pump(self, connection: "_Connection", answers: bool) -> None:
        source, sink = (
            (connection.server, connection.peer) if answers else (connection.peer, connection.server)
        )
        with suppress(OSError):
            while data := source.recv(2**16):
                if connection.is_frozen:
                    continue
                while answers and self.drip_seconds and data and not self._over.wait(self.drip_seconds):
                    sink.sendall(data[:1])
                    data = data[1:]
                sink.sendall(data)
        if not connection.is_frozen:
            connection.close()


class _Connection:
    """A client's half and a server's half."""

    def __init__(self, peer: socket.socket, server: socket.socket) -> None:
        self.peer, self.server = peer, server
        self.is_frozen = False

    def close(self) -> None:
        for each in (self.peer, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class BlackHole:
    """A port that drops SYNs, as Linux does: it listens, its queue is full, and it never accepts.

    Args:
        port: the port to listen on.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self._waiting = [socket.socket() for _ in range(4)]
        for each in self._waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.settimeout(0.2)
            with suppress(TimeoutError):
                probe.connect(("127.0.0.1", port))
                raise AssertionError("this kernel lets connections through a full queue")

    def close(self) -> None:
        """Refuses connections from now on."""
        for each in (self._listener, *self._waiting):
            each.close()
