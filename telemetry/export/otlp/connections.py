"""Connections whose operations all end with one deadline: plain, and TLS over any other."""

import io
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Protocol

HUNG_UP = (BrokenPipeError, ConnectionResetError)
"""What writing to a peer that has hung up raises. It may have answered before."""
_READ_AT_ONCE = _WRITTEN_AT_ONCE = 2**16


class Deadline:
    """The end of one exchange, on the monotonic clock; another thread may bring it forward."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._is_cancelled = False
        self._held: socket.socket | None = None

    def remaining(self) -> float:
        """Returns the seconds left.

        Raises:
            TimeoutError: no time is left.
            ConnectionAbortedError: the exchange was cancelled.
        """
        if self._is_cancelled:
            raise ConnectionAbortedError("the exporter was shut down")
        remaining = self._at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the export's deadline has passed")
        return remaining

    def hold(self, used: socket.socket) -> None:
        """Names the socket that the exchange uses from now on, which `cancel` shuts down.

        Raises:
            ConnectionAbortedError: the exchange was cancelled.
            TimeoutError: no time is left.
        """
        self._held = used
        self.remaining()

    def cancel(self) -> None:
        """Ends the exchange at once; called by another thread."""
        self._is_cancelled = True
        held = self._held
        if held is not None:
            with suppress(OSError):  # its thread may be closing it
                held.shutdown(socket.SHUT_RDWR)


class Connection(Protocol):
    """The interface of a connection. It belongs to one thread at a time."""

    def begin(self, deadline: Deadline) -> None:
        """Gives what follows a deadline, and lets it be cancelled.

        Raises:
            OSError: it is over already.
        """
        ...

    def send_all(self, data: bytes) -> None:
        """Writes; raises OSError."""
        ...

    def receive(self, size: int, *, is_waiting: bool = True) -> bytes:
        """Returns what has arrived, at most `size` bytes; nothing at the end.

        Raises:
            BlockingIOError: nothing has arrived, and the caller does not wait.
            OSError: the connection is broken.
        """
        ...

    def close(self) -> None:
        """Hangs up."""
        ...

    def fileno(self) -> int:
        """Returns the socket's descriptor."""
        ...


class PlainConnection:
    """A connection over TCP alone."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def begin(self, deadline: Deadline) -> None:
        """See `Connection`."""
        self._deadline = deadline
        deadline.hold(self._socket)

    def send_all(self, data: bytes) -> None:
        """See `Connection`."""
        self._socket.settimeout(self._deadline.remaining())
        self._socket.sendall(data)

    def receive(self, size: int, *, is_waiting: bool = True) -> bytes:
        """See `Connection`."""
        self._socket.settimeout(self._deadline.remaining() if is_waiting else 0)
        return self._socket.recv(size)

    def close(self) -> None:
        """See `Connection`."""
        self._socket.close()

    def fileno(self) -> int:
        """See `Connection`."""
        return self._socket.fileno()


class TlsConnection:
    """TLS over another connection, which may itself be TLS, to a proxy.

    An `SSLSocket` cannot be that. Nor can it read, after a write that failed, past the session tickets that
    come first on each connection: the answer behind them, by which a server says that a request is too large
    before it hangs up, would be lost, and the batch be sent again for ever.

    Args:
        carrier: what it is sent over.
        context: the certificates.
        host: the name that the peer's certificate must have.

    Raises:
        OSError: the handshake failed; the carrier is left open.
    """

    def __init__(self, carrier: Connection, context: ssl.SSLContext, host: str) -> None:
        self._carrier = carrier
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(is_waiting=True)
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # tells the peer why
                raise
            else:
                self._flush()
                return

    def begin(self, deadline: Deadline) -> None:
        """See `Connection`."""
        self._carrier.begin(deadline)

    def send_all(self, data: bytes) -> None:
        """See `Connection`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest[:_WRITTEN_AT_ONCE]) :]
            self._flush()

    def receive(self, size: int, *, is_waiting: bool = True) -> bytes:
        """See `Connection`."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(is_waiting=is_waiting)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def close(self) -> None:
        """See `Connection`."""
        self._carrier.close()

    def fileno(self) -> int:
        """See `Connection`."""
        return self._carrier.fileno()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._carrier.send_all(self._outgoing.read())

    def _feed(self, *, is_waiting: bool) -> None:
        data = self._carrier.receive(_READ_AT_ONCE, is_waiting=is_waiting)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class Reader(io.RawIOBase):
    """A connection as `http.client` reads from it; closing it leaves the connection open."""

    has_received = False
    """Whether anything has arrived."""
    has_ended = False
    """Whether the peer has hung up."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def readable(self) -> bool:
        """Returns that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what has arrived; returns 0 at the end."""
        data = self._connection.receive(len(buffer))
        self.has_received |= bool(data)
        self.has_ended |= not data
        buffer[: len(data)] = data
        return len(data)

    def makefile(self, *_: object) -> io.BufferedReader:
        """Returns a buffer over it, where `http.client` expects a socket."""
        return io.BufferedReader(self)


def is_quiet(kept: Connection) -> bool:
    """Returns whether an idle connection is open and has nothing to say.

    What arrived on it answers no request: most likely the server took its leave, with or without a word.
    Reading is what tells data, the end of a TLS session and a session ticket apart.
    """
    try:
        kept.receive(1, is_waiting=False)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
