"""OTLP over HTTP/1.1: sends encoded requests and returns the results, each within one deadline.

The deadline covers the whole exchange: name resolution, connecting, a proxy's tunnel, TLS, sending, and an
answer that drips in byte by byte. Redirects are never followed, and `.netrc` is never read.

Why no HTTP library: the timeouts of urllib3, requests and httpx bound each read and not the exchange, so that
a slow answer outlasts any of them; each would be a dependency of every service; and a request costs three to
four times the CPU with urllib3, seven with httpx, eleven with requests (measured over loopback, 300 bytes to
60 KB). What is ours is when to connect, to wait and to give up; parsing answers is left to `http.client`, and
TLS to OpenSSL.
"""

import gzip
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from .connecting import Connector, ProxyError, refusal
from .connections import HUNG_UP, Connection, Deadline, Reader, is_quiet
from .http_response import HttpResponse, read_body
from .proxy import DEFAULT_PORTS, Proxy
from .request_head import request_head
from .response import from_http_response
from .result import ExportResult, no_answer
from .tls import TlsFiles

_GZIP_LEVEL = 1
"""Four times cheaper than Python's default of 9, for 3.5 % more bytes."""


class HttpTransport:
    """A transport over persistent connections. Thread-safe: each exchange has a connection to itself.

    Args:
        url: the full URL, including its path; its credentials become Basic authorization.
        tls: the certificates; None for plain text.
        proxy: the proxy on the way; None to connect directly.
        headers: sent with each request.
        is_compressed: whether requests are sent with gzip.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TlsFiles | None = None,
        proxy: Proxy | None = None,
        headers: Mapping[str, str],
        is_compressed: bool = False,
    ) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        self._host = host
        self._server = f"{host}:{port}"
        self._proxy = proxy
        self._connector = Connector(host, port, tls=tls, proxy=proxy)
        self._head = request_head(
            parts, headers, is_compressed=is_compressed, proxy=proxy if tls is None else None
        )
        self._is_compressed = is_compressed
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Deadline] = set()
        self._is_closed = False

    def send(self, payload: bytes, timeout_seconds: float) -> ExportResult:
        """Sends one request; never raises.

        Args:
            payload: an encoded export request.
            timeout_seconds: the limit for the whole exchange, including connecting.
        """
        deadline = Deadline(timeout_seconds)
        body = gzip.compress(payload, _GZIP_LEVEL) if self._is_compressed else payload
        if not self._begin(deadline):
            return no_answer("closed", "the exporter was shut down")
        try:
            return self._named(self._exchange(body, deadline))
        except (OSError, http.client.HTTPException) as error:
            return self._named(self._failed(error, timeout_seconds))
        finally:
            self._end(deadline)

    def connect_only(self, timeout_seconds: float) -> ExportResult | None:
        """Connects over TCP and hangs up: to the server, or to the proxy if there is one. Never raises.

        Returns None if that succeeds, else the result that says why not.

        Args:
            timeout_seconds: the limit for resolving the name and connecting.
        """
        deadline = Deadline(timeout_seconds)
        if not self._begin(deadline):
            return no_answer("closed", "the exporter was shut down")
        try:
            self._connector.reach(deadline)
        except OSError as error:
            return self._named(self._failed(error, timeout_seconds))
        finally:
            self._end(deadline)
        return None

    def close(self) -> None:
        """Cancels the exports in progress and closes the connections."""
        with self._lock:
            self._is_closed = True
            busy = tuple(self._busy)
        self._close_idle()
        for deadline in busy:
            deadline.cancel()

    def _begin(self, deadline: Deadline) -> bool:
        """Lets `close` end the exchange; returns False if it was called before."""
        with self._lock:
            if not self._is_closed:
                self._busy.add(deadline)
            return not self._is_closed

    def _end(self, deadline: Deadline) -> None:
        with self._lock:
            self._busy.discard(deadline)

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, body: bytes, deadline: Deadline) -> ExportResult:
        kept = self._take_kept()
        if kept is not None:
            reader = Reader(kept)
            try:
                response, answer = self._exchange_over(kept, reader, body, deadline)
            except TimeoutError:
                raise
            except OSError:
                if reader.has_received:
                    raise
                deadline.remaining()  # the server closed it meanwhile: if time is left, try a new one
            else:
                # A server that has waited too long for a next request may say so, and hang up, just as one
                # is under way; it may be repeated over another connection (RFC 9110, 15.5.9).
                if response.status != http.client.REQUEST_TIMEOUT or not response.will_close:
                    return self._result(response, answer)
        made = self._connector.connect(deadline)
        return self._result(*self._exchange_over(made, Reader(made), body, deadline))

    def _take_kept(self) -> Connection | None:
        """Returns an idle connection; those that the server has closed or spoken on are closed in silence."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is None or is_quiet(kept):
                return kept
            kept.close()

    def _exchange_over(
        self, connection: Connection, reader: Reader, body: bytes, deadline: Deadline
    ) -> tuple[HttpResponse, bytes | None]:
        is_reusable = False
        try:
            connection.begin(deadline)
            is_whole = True
            try:
                connection.send_all(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            except HUNG_UP:
                # It may have answered before it had read all, most likely that the request is too large.
                is_whole = False
            response = HttpResponse(reader, method="POST")
            try:
                response.begin()
                answer, has_ended = read_body(response)
            finally:
                response.close()
            is_reusable = is_whole and has_ended and not response.will_close
        except OSError:
            self._close_idle()  # whatever broke this one has most likely broken the idle ones
            raise
        finally:
            with self._lock:
                is_kept = is_reusable and not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()
        return response, answer

    def _result(self, response: HttpResponse, answer: bytes | None) -> ExportResult:
        if response.status < http.client.OK:
            raise http.client.UnknownProtocol(str(response.status))
        if self._proxy is not None and response.status == http.client.PROXY_AUTHENTICATION_REQUIRED:
            raise refusal(self._proxy, response)
        return from_http_response(response, answer)

    def _failed(self, error: OSError | http.client.HTTPException, timeout_seconds: float) -> ExportResult:
        match error:
            case TimeoutError():
                kind, detail = "timeout", f"no complete answer within {timeout_seconds:g} s"
            case ProxyError():
                kind, detail = "proxy", f"{error} (if {self._host} is reached directly, name it in NO_PROXY)"
            case socket.gaierror():
                kind, detail = "dns", f"{self._host} cannot be resolved: {error}"
            case ssl.SSLError():
                kind, detail = "tls", f"TLS with {self._server} failed: {error}"
            case OSError():
                kind, detail = "connection", f"{self._server}: {error}"
            case http.client.IncompleteRead():
                kind, detail = "connection", f"{self._server} hung up in the middle of its answer"
            case _:
                what = f"{self._server} does not speak HTTP/1.1 ({type(error).__name__})"
                kind, detail = "protocol", f"{what}: is it the port of another protocol?"
        return no_answer(kind, detail)

    def _named(self, result: ExportResult) -> ExportResult:
        """Names the proxy in what went wrong beyond it."""
        if self._proxy is None or result.kind in {"", "proxy"}:
            return result
        return replace(result, detail=f"{result.detail} (through the proxy {self._proxy})")
