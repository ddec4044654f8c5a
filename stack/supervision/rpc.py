"""XML-RPC over a Unix socket, as supervisord speaks it."""

import socket
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import ServerProxy, Transport

_ANSWER_SECONDS = 15.0


def call(path: Path, method: str, *arguments: object) -> object:
    """Calls a method, such as `supervisor.getState`, at the socket of this path.

    Raises:
        OSError: there is no answer in time.
        Fault: supervisord returns an error.
    """
    # ServerProxy requires a host; the transport connects to the socket.
    proxy = ServerProxy("http://localhost", _SocketTransport(path))
    target: Any = proxy
    for name in method.split("."):
        target = getattr(target, name)
    with proxy:
        return cast("object", target(*arguments))


class _SocketConnection(HTTPConnection):
    """HTTP over a Unix socket, with a timeout in case supervisord is frozen."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(str(self._path))


class _SocketTransport(Transport):
    """XML-RPC over such a connection."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        """Creates a connection and stores it where the base class finds it to close it."""
        connection = _SocketConnection(self._path)
        self._connection = host, connection
        return connection
