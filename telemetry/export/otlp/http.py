"""OTLP over HTTP/1.1: sends encoded requests and returns the results, each within one deadline.

The deadline covers the whole exchange: name resolution, connecting, TLS, sending, and an answer that drips in
byte by byte. Redirects are never followed; proxies and `.netrc` from the environment are never used.
"""

import gzip
import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from ...config import TelemetryConfig
from .response import LONGEST_RESPONSE_BYTES, PROTOBUF, from_http_response
from .result import ExportResult, no_answer

_GZIP_LEVEL = 1
"""Four times cheaper than Python's default of 9, for 3.5 % more bytes."""
_CONNECT_SECONDS = 2.0
"""The connect timeout per address: it survives one lost SYN, but abandons a black hole."""


class _Deadline:
    """The end of one exchange, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Returns the seconds left.

        Raises:
            TimeoutError: no time is left.
        """
        remaining = self._at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the export's deadline has passed")
        return remaining


class _PlainSocket(socket.socket):
    """A socket whose operations all time out at the deadline."""

    deadline: _Deadline

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(self.deadline.remaining())
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.settimeout(self.deadline.remaining())
        super().sendall(*arguments)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS, where `sendall` calls `send` repeatedly."""

    deadline: _Deadline

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(self.deadline.remaining())
        return super().recv_into(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(self.deadline.remaining())
        return super().send(*arguments, **options)


def tls_context(config: TelemetryConfig) -> ssl.SSLContext:
    """Reads the certificates that the settings name.

    Raises:
        OSError: one cannot be read.
        ssl.SSLError: one is invalid.
    """
    context = ssl.create_default_context(cafile=config.certificate)
    if config.client_certificate is not None:
        context.load_cert_chain(config.client_certificate, config.client_key)
    return context


class HttpTransport:
    """A transport over persistent connections. Thread-safe: each exchange has a connection to itself.

    Args:
        url: the full URL, including its path.
        context: the TLS context; None for plain text.
        headers: sent with each request.
        is_compressed: whether requests are sent with gzip.
    """

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None = None,
        headers: Mapping[str, str],
        is_compressed: bool = False,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        self._context = context
        if context is not None:
            context.sslsocket_class = _TlsSocket
        self._headers = {"Content-Type": PROTOBUF, **headers}
        if is_compressed:
            self._headers["Content-Encoding"] = "gzip"
        self._is_compressed = is_compressed
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._is_closed = False

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Sends one request; never raises.

        Args:
            payload: an encoded export request.
            timeout_seconds: the limit for the whole exchange, including connecting.
        """
        deadline = _Deadline(timeout_seconds)
        body = gzip.compress(payload, _GZIP_LEVEL) if self._is_compressed else payload
        try:
            return self._exchange(body, deadline)
        except TimeoutError:
            return no_answer("timeout", f"no complete answer within {timeout_seconds:g} s")
        except socket.gaierror as error:
            return no_answer("dns", f"{self._host} cannot be resolved: {error}")
        except ssl.SSLError as error:
            return no_answer("tls", f"TLS with {self._host}:{self._port} failed: {error}")
        except OSError as error:
            return no_answer("connection", f"{self._host}:{self._port}: {error}")
        except http.client.HTTPException as error:
            what = f"{self._host}:{self._port} does not speak HTTP/1.1 ({type(error).__name__})"
            return no_answer("protocol", f"{what}: is it the port of another protocol?")

    def close(self) -> None:
        """Cancels the exports in progress and closes the connections."""
        with self._lock:
            self._is_closed = True
            busy = tuple(self._busy)
        self._close_idle()
        for connection in busy:
            if isinstance(connection.sock, socket.socket):
                with suppress(OSError):  # its thread may be closing it
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, body: bytes, deadline: _Deadline) -> ExportResult:
        with self._lock:
            if self._is_closed:
                return no_answer("closed", "the exporter was shut down")
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._exchange_over(kept, body, deadline)
            except (ConnectionError, http.client.RemoteDisconnected):
                deadline.remaining()  # the server closed it meanwhile: if time is left, try a new one
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = self._connect(deadline)
        return self._exchange_over(connection, body, deadline)

    def _exchange_over(
        self, connection: http.client.HTTPConnection, body: bytes, deadline: _Deadline
    ) -> ExportResult:
        cast("_PlainSocket | _TlsSocket", connection.sock).deadline = deadline
        with self._lock:
            self._busy.add(connection)
        is_reusable = False
        try:
            is_whole = _request(connection, self._path, body, self._headers)
            response = connection.getresponse()
            answer = _read(response)
            is_reusable = is_whole and answer is not None and not response.will_close
        except OSError:
            self._close_idle()  # whatever broke this one has most likely broken the idle ones
            raise
        finally:
            with self._lock:
                self._busy.discard(connection)
                is_kept = is_reusable and not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()
        return from_http_response(response, answer)

    def _connect(self, deadline: _Deadline) -> socket.socket:
        failure: OSError | None = None
        for family, kind, protocol, _, address in _resolve(self._host, self._port, deadline):
            plain = _PlainSocket(family, kind, protocol)
            try:
                plain.settimeout(min(_CONNECT_SECONDS, deadline.remaining()))
                plain.connect(address)
                # An export is one write; waiting for more would only delay it.
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is None:
                    return plain
                plain.settimeout(deadline.remaining())
                return self._context.wrap_socket(plain, server_hostname=self._host)
            except TimeoutError:
                plain.close()
                deadline.remaining()  # unless the deadline is over, another address may work
                failure = OSError(f"no connection within {_CONNECT_SECONDS:g} s")
            except OSError as error:
                plain.close()
                failure = error
        raise failure or OSError("the host name has no address")


def _resolve(host: str, port: int, deadline: _Deadline) -> list[Any]:
    """Runs `getaddrinfo` in a thread that may be abandoned: it has no timeout and can take half a minute."""
    answers: list[Any] = []

    def resolve() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=resolve, name="telemetry-resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down and starts no more threads
        resolve()
    else:
        thread.join(deadline.remaining())
    if not answers:
        raise TimeoutError(f"{host} was not resolved in time")
    if isinstance(answers[0], OSError):
        raise answers[0]
    found: list[Any] = answers[0]
    return found


def _request(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]
) -> bool:
    """Sends a request; returns False if the server hung up before it had read all of it.

    It may have answered before that, most likely that the request is too large.
    """
    try:
        connection.request("POST", path, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _read(response: http.client.HTTPResponse) -> bytes | None:
    """Returns the answer's body, decompressed; None if it is too long."""
    body = response.read(LONGEST_RESPONSE_BYTES + 1)
    if response.headers.get("Content-Encoding", "").lower() == "gzip":
        # Not requested, but some servers do it; a few KB can unpack to gigabytes.
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, LONGEST_RESPONSE_BYTES + 1)
        except zlib.error:
            return b""
    return body if len(body) <= LONGEST_RESPONSE_BYTES else None
