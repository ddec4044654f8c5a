"""Connections to a server: the name resolved anew for each, address by address, through a proxy, with TLS."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from .connections import Connection, Deadline, PlainConnection, Reader, TlsConnection
from .http_response import HttpResponse
from .proxy import Proxy
from .request_head import authority_of
from .response import escaped
from .tls import TlsFiles
from .user_agent import user_agent

_CONNECT_SECONDS = 2.0
"""The connect timeout per address: it survives one lost SYN, but abandons a black hole."""
_SHOWN_CHARACTERS = 100


class ProxyError(OSError):
    """The proxy cannot be reached, or refuses; the message names it."""


class Connector:
    """Connects to one server. Thread-safe.

    Args:
        host: the server's name or address.
        port: its port.
        tls: the certificates; None for plain text.
        proxy: the proxy on the way; None to connect directly.

    Raises:
        UnicodeError: the name is no international one.
    """

    def __init__(self, host: str, port: int, *, tls: TlsFiles | None, proxy: Proxy | None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._proxy = proxy
        self._proxy_context: ssl.SSLContext | None = None
        authority = authority_of(host, port)
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", f"User-Agent: {user_agent()}"]
        if proxy is not None and proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._request_for_tunnel = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def connect(self, deadline: Deadline) -> Connection:
        """Returns a connection over which requests can be sent.

        Raises:
            TimeoutError: the deadline has passed.
            ProxyError: the proxy failed.
            socket.gaierror: the name cannot be resolved.
            ssl.SSLError: TLS with the server failed.
            OSError: the server cannot be reached.
        """
        if self._proxy is None:
            return _dial(self._host, self._port, deadline, self._secure)
        carrier = self._dial_proxy(self._proxy, deadline, self._tunnel)
        try:
            return self._secure(carrier)
        except BaseException:
            carrier.close()
            raise

    def reach(self, deadline: Deadline) -> None:
        """Connects over TCP alone, to the server or to the proxy before it, and closes the connection.

        Raises:
            OSError: as `connect` does.
        """
        if self._proxy is None:
            _dial(self._host, self._port, deadline, _as_it_is).close()
        else:
            self._dial_proxy(self._proxy, deadline, _as_it_is).close()

    def _dial_proxy(
        self, proxy: Proxy, deadline: Deadline, finish: Callable[[Connection], Connection]
    ) -> Connection:
        try:
            return _dial(proxy.host, proxy.port, deadline, finish)
        except (TimeoutError, ProxyError):
            raise
        except OSError as error:
            raise ProxyError(f"the proxy {proxy} cannot be reached: {error}") from error

    def _tunnel(self, carrier: Connection) -> Connection:
        """Speaks TLS with the proxy if its URL says so, and asks for a tunnel if TLS is to go through it."""
        proxy = self._proxy
        if proxy is not None and proxy.is_tls:
            carrier = TlsConnection(carrier, self._proxy_tls(), proxy.host)
        if self._tls is None:
            return carrier
        carrier.send_all(self._request_for_tunnel)
        response = HttpResponse(Reader(carrier), method="CONNECT")
        try:
            response.begin()
        except http.client.HTTPException as error:
            raise ProxyError(
                f"the proxy {proxy} does not answer CONNECT like a proxy ({type(error).__name__})"
            ) from error
        finally:
            response.close()
        if not http.client.OK <= response.status < http.client.MULTIPLE_CHOICES:
            raise refusal(proxy, response)
        return carrier

    def _proxy_tls(self) -> ssl.SSLContext:
        # Made once, at the first connection: the system's certificates take a while to read.
        if self._proxy_context is None:
            self._proxy_context = ssl.create_default_context()
        return self._proxy_context

    def _secure(self, carrier: Connection) -> Connection:
        if self._tls is None:
            return carrier
        return TlsConnection(carrier, self._tls.context(), self._host.rstrip("."))


def refusal(proxy: Proxy | None, response: http.client.HTTPResponse) -> ProxyError:
    """Returns the error for a proxy's answer that is no tunnel."""
    asked = ""
    if response.status == http.client.PROXY_AUTHENTICATION_REQUIRED:
        scheme = escaped(response.headers.get("Proxy-Authenticate", "")[:_SHOWN_CHARACTERS])
        asked = f"; it asks for {scheme or 'credentials'}, and those in its URL can only be sent as Basic"
    return ProxyError(
        f"the proxy {proxy} refuses: HTTP {response.status} {escaped(response.reason)}".rstrip() + asked
    )


def _as_it_is(carrier: Connection) -> Connection:
    return carrier


def _dial(host: str, port: int, deadline: Deadline, finish: Callable[[Connection], Connection]) -> Connection:
    """Connects to the first address with which `finish` succeeds, and returns what it made."""
    failure: OSError | None = None
    addresses = resolve(host, port, deadline)
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        # A black hole must leave time for the addresses after it.
        seconds = min(_CONNECT_SECONDS, deadline.remaining() / (len(addresses) - position))
        made: socket.socket | None = None
        try:
            made = socket.socket(family, kind, protocol)
            deadline.hold(made)
            made.settimeout(seconds)
            made.connect(address)
            # An export is one write; waiting for more would only delay it.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return finish(PlainConnection(made, deadline))
        except OSError as error:
            if made is not None:
                made.close()
            deadline.remaining()  # unless the deadline is over, another address may work
            failure = error
            if isinstance(error, TimeoutError):
                failure = OSError(f"no connection within {seconds:.2g} s")
    raise failure or OSError("the host name has no address")


def resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Runs `getaddrinfo` in a thread that may be abandoned: it has no timeout and can take half a minute.

    Nothing is remembered: a name that moves is found at its new address by the next connection.

    Raises:
        TimeoutError: there is no answer before the deadline.
        socket.gaierror: the name cannot be resolved.
    """
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.append(error)
        except ValueError:  # among them UnicodeError, for a label that is too long
            answers.append(socket.gaierror(socket.EAI_NONAME, "not a host name"))

    thread = threading.Thread(target=ask, name="telemetry-resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down and starts no more threads
        ask()
    else:
        thread.join(deadline.remaining())
    if not answers:
        raise TimeoutError(f"{host} was not resolved in time")
    if isinstance(answers[0], OSError):
        raise answers[0]
    found: list[Any] = answers[0]
    return found
