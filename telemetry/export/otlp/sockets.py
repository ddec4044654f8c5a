"""Sockets whose operations all end with one deadline, plain and over TLS."""

import selectors
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

_WRITTEN_AT_ONCE = 2**16


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
                # Not the TLS socket's own method, after which its thread would send plain text.
                socket.socket.shutdown(held, socket.SHUT_RDWR)


class PlainSocket(socket.socket):
    """A socket whose operations all time out at the deadline."""

    deadline: Deadline
    has_received = False
    """Whether anything has arrived since this was last set to False."""

    def recv_into(self, *arguments: Any) -> int:
        """Reads until the deadline."""
        self.settimeout(self.deadline.remaining())
        received = super().recv_into(*arguments)
        self.has_received |= received > 0
        return received

    def sendall(self, *arguments: Any) -> None:
        """Writes until the deadline."""
        self.settimeout(self.deadline.remaining())
        super().sendall(*arguments)


class TlsSocket(ssl.SSLSocket):
    """The same over TLS.

    What the server sends during a long write is taken note of: once a write has failed, OpenSSL can no longer
    read past a session ticket, and the answer behind it, which says why the server hung up, would be lost.
    """

    deadline: Deadline
    has_received = False
    _early = b""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Reads until the deadline."""
        if self._early:
            arguments[0][:1], self._early = self._early, b""
            return 1
        self.settimeout(self.deadline.remaining())
        received = super().recv_into(*arguments, **options)
        self.has_received |= received > 0
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Writes until the deadline."""
        rest = memoryview(data)
        is_silent = True
        self.settimeout(0)
        while rest:
            try:
                rest = rest[self.send(rest[:_WRITTEN_AT_ONCE], flags) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                with selectors.DefaultSelector() as selector:
                    selector.register(
                        self, selectors.EVENT_WRITE | (selectors.EVENT_READ if is_silent else 0)
                    )
                    selector.select(self.deadline.remaining())
            if rest and is_silent:
                is_silent = self._take_note()

    def _take_note(self) -> bool:
        """Reads what is no answer, such as a session ticket; returns False at the answer's beginning."""
        try:
            self._early = self.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False  # the next write fails as well
        self.has_received |= bool(self._early)
        return False


TimedSocket = PlainSocket | TlsSocket


def is_quiet(kept: TimedSocket) -> bool:
    """Returns whether an idle connection is open and has nothing to say.

    What arrived on it answers no request: most likely the server took its leave, with or without a word.
    Reading is what tells data, the end of a TLS session and a session ticket apart.
    """
    kept.settimeout(0)
    try:
        kept.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False
