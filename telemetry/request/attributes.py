"""The attributes of a server span (OpenTelemetry semantic conventions, HTTP server, stable).

They are read from the ASGI scope alone: the server, or a middleware that trusts its proxy, decides who the
client is. Long values are cut, and the values of query parameters that carry credentials are redacted.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from opentelemetry.semconv.attributes import (
    client_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.util.types import AttributeValue
from starlette.types import Message, Scope

from ..config import TelemetryConfig
from ..export.otlp.attributes import Given, SharedAttributes
from .headers import FORWARDED_FOR, CapturedHeaders
from .old_attributes import OLD_STATUS_CODE, old_attributes

KNOWN_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
OTHER_METHOD = "_OTHER"
LONGEST_VALUE = 2_048
REDACTED = "REDACTED"
REDACTED_PARAMETERS = frozenset(
    {"awsaccesskeyid", "sig", "signature", "x-amz-credential", "x-amz-security-token", "x-amz-signature"}
    | {"x-goog-signature"}
)
"""Query parameters whose values the conventions redact, in lower case."""
OLD_CONVENTIONS_TOO = "http/dup"
"""The value of `OTEL_SEMCONV_STABILITY_OPT_IN` that asks for the old attributes beside the stable ones."""
_PATH, _PEER_PORT = url_attributes.URL_PATH, network_attributes.NETWORK_PEER_PORT
_MOST_SHARED, _LONGEST_SHARED = 512, 512
"""Shared attributes that are kept of each kind, and the longest headers or address of one, in bytes."""
_LARGEST_PORT, _MOST_DIGITS = 65_535, 5
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class _Methods(dict[str, str]):
    """The bounded form of each method."""

    def __missing__(self, method: str) -> str:
        return OTHER_METHOD


METHODS: Mapping[str, str] = _Methods({method: method for method in KNOWN_METHODS})
"""A request's method, bounded: `_OTHER` for one that HTTP does not know."""


class RequestEnd:
    """What is known of a request at its end; many have the same.

    Args:
        first_name: of its server span, until its route is known.
        name: the one after that.
        attributes: further ones.
    """

    __slots__ = ("attributes", "first_name", "name")

    def __init__(self, first_name: str, name: str, attributes: SharedAttributes) -> None:
        self.first_name = first_name
        self.name = name
        self.attributes = attributes


def name_of(method: str, route: str | None) -> str:
    """Returns the name of a server span that the conventions ask for."""
    verb = "HTTP" if method == OTHER_METHOD else method
    return verb if route is None else f"{verb} {route}"


class RequestAttributes:
    """What the server spans of one application say of its requests. Thread-safe.

    The settings are resolved here once: a request does not pay for what is not asked for.

    Args:
        config: names captured headers, further secrets, and whether old attributes are wanted.
    """

    __slots__ = (
        "_clients",
        "_ends",
        "_has_old",
        "_query",
        "_request_headers",
        "_response_headers",
        "_shared",
        "status_names",
    )

    def __init__(self, config: TelemetryConfig) -> None:
        self._has_old = OLD_CONVENTIONS_TOO in config.semconv_opt_in
        self._query = QueryRedaction(config.redacted_query)
        hidden = config.sanitized_headers
        self._request_headers = (
            CapturedHeaders("request", config.captured_request_headers, hidden, has_old=self._has_old)
            if config.captured_request_headers
            else None
        )
        self._response_headers = (
            CapturedHeaders("response", config.captured_response_headers, hidden, has_old=self._has_old)
            if config.captured_response_headers
            else None
        )
        self.status_names: tuple[str, ...] = (
            (http_attributes.HTTP_RESPONSE_STATUS_CODE, OLD_STATUS_CODE)
            if self._has_old
            else (http_attributes.HTTP_RESPONSE_STATUS_CODE,)
        )
        """The attributes of an answer's status."""
        self._shared: dict[object, SharedAttributes] = {}
        self._clients: dict[tuple[str, bool], SharedAttributes] = {}
        self._ends: dict[tuple[str, str | None, int | None], RequestEnd] = {}

    @property
    def reads_answers(self) -> bool:
        """Whether `of_answer` may return any."""
        return self._response_headers is not None

    def of_request(self, scope: Scope, method: str, headers: Mapping[bytes, bytes]) -> Given:
        """Returns what is known of a request before it is answered: shared attributes, and its own.

        Args:
            scope: the request's.
            method: the bounded one.
            headers: the first value of each header, by its name in lower case.
        """
        own: dict[str, AttributeValue] = {_PATH: scope["path"][:LONGEST_VALUE]}
        query = scope.get("query_string")
        if query:
            own[url_attributes.URL_QUERY] = self._query.redact(query.decode("latin-1"))[:LONGEST_VALUE]
        if method == OTHER_METHOD:
            own[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] = scope["method"][:LONGEST_VALUE]
        host = headers.get(b"host")
        # From `Host`, what the client asked for, else what the server listens on.
        asked_for = host or tuple(scope.get("server") or ())[:2]
        agent = headers.get(b"user-agent")
        key = method, scope.get("scheme") or "http", scope.get("http_version"), asked_for, agent
        shared = self._shared.get(key)
        if shared is None:
            shared = SharedAttributes(_of_many_requests(*key))
            if len(asked_for) + len(agent or b"") <= _LONGEST_SHARED:
                _keep(self._shared, key, shared)
        client = scope.get("client")
        address, port = client[:2] if client and len(client) > 1 else (None, None)
        if isinstance(address, str):
            address = address[:LONGEST_VALUE]
            forwarded_for = headers.get(FORWARDED_FOR)
            # Without a port, or if a proxy named it, the address is a header's: the peer is not known.
            is_peer = bool(port) and not (
                forwarded_for and address.encode("latin-1", "replace") in forwarded_for
            )
            if is_peer:
                own[_PEER_PORT] = port
            of_client = self._clients.get((address, is_peer))
            if of_client is None:
                of_client = SharedAttributes(_of_client(address, is_peer=is_peer))
                if len(address) <= _LONGEST_SHARED:
                    _keep(self._clients, (address, is_peer), of_client)
            given: Given = shared, of_client, own
        else:
            given = shared, own
        if self._has_old or self._request_headers is not None:
            self._add_more(scope, given, host)
        return given

    def _add_more(
        self,
        scope: Scope,
        given: Given,
        host: bytes | None,
    ) -> None:
        own = given[-1]
        if self._has_old:
            own |= old_attributes(scope, merged(given), host)
        if self._request_headers is not None:
            own |= self._request_headers.read(scope.get("headers", ()))

    def of_end(self, method: str, route: str | None, status: int | None) -> RequestEnd:
        """Returns what is known of a request at its end.

        Args:
            method: the bounded one.
            route: the template; None if no route matched.
            status: the one that the client was sent; None if it had left before.
        """
        key = method, route, status
        known = self._ends.get(key)
        if known is None:
            values: dict[str, str | int] = {} if route is None else {http_attributes.HTTP_ROUTE: route}
            if status is not None:
                values |= dict.fromkeys(self.status_names, status)
            known = RequestEnd(name_of(method, None), name_of(method, route), SharedAttributes(values))
            _keep(self._ends, key, known)
        return known

    def of_answer(self, message: Message) -> dict[str, AttributeValue]:
        """Returns what the first message of an answer says, or a WebSocket's acceptance."""
        return (
            {} if self._response_headers is None else self._response_headers.read(message.get("headers", ()))
        )


def merged(given: Given) -> dict[str, AttributeValue]:
    """Returns the attributes of a request as one dictionary."""
    *shared, own = given
    every: dict[str, AttributeValue] = {}
    for each in shared:
        every |= each.values
    return every | own


class QueryRedaction:
    """Replaces the values of query parameters that carry credentials. Thread-safe.

    Args:
        further: names of secret parameters, in any case, in addition to those of the conventions.
    """

    def __init__(self, further: Iterable[str] = ()) -> None:
        self._names = REDACTED_PARAMETERS | {name.lower() for name in further}

    def redact(self, query: str) -> str:
        """Returns the query with the values of secret parameters replaced."""
        readable = (unquote(query) if "%" in query else query).lower()
        for name in self._names:
            if name in readable:  # perhaps within another name, or a value
                return "&".join(map(self._redact_parameter, query.split("&")))
        return query

    def _redact_parameter(self, parameter: str) -> str:
        name, equals, _ = parameter.partition("=")
        return f"{name}={REDACTED}" if equals and unquote(name).lower() in self._names else parameter


def _of_many_requests(
    method: str,
    scheme: str,
    version: str | None,
    asked_for: bytes | tuple[Any, ...],
    agent: bytes | None,
) -> dict[str, str | int]:
    """Returns what many requests have in common.

    Args:
        method: the bounded one.
        scheme: the request's.
        version: of HTTP.
        asked_for: the header `Host`, or address and port that the server listens on, or nothing.
        agent: the header `User-Agent`.
    """
    attributes: dict[str, str | int] = {
        http_attributes.HTTP_REQUEST_METHOD: method,
        url_attributes.URL_SCHEME: scheme,
    }
    if version:
        attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = version
    address, port = (
        _asked_for(asked_for[:LONGEST_VALUE], scheme)
        if isinstance(asked_for, bytes)
        else (*asked_for, None, None)[:2]
    )
    if address:
        attributes[server_attributes.SERVER_ADDRESS] = address
        if port:
            attributes[server_attributes.SERVER_PORT] = port
    if agent:
        attributes[user_agent_attributes.USER_AGENT_ORIGINAL] = agent[:LONGEST_VALUE].decode("latin-1")
    return attributes


def _of_client(address: str, *, is_peer: bool) -> dict[str, str | int]:
    """Returns who the server, or a middleware that trusts its proxy, says the client is."""
    attributes: dict[str, str | int] = {client_attributes.CLIENT_ADDRESS: address}
    if is_peer:
        attributes[network_attributes.NETWORK_PEER_ADDRESS] = address
    return attributes


def _keep(known: dict[Any, Any], key: Any, value: object) -> None:
    if len(known) >= _MOST_SHARED:
        known.clear()  # clients may send any
    known[key] = value


def _asked_for(host: bytes, scheme: str) -> tuple[str, int | None]:
    """Returns address and port of a `Host` header; the port may be the scheme's."""
    address, port = _split_host(host.decode("latin-1"))
    return address, port or _DEFAULT_PORTS.get(scheme)


def _split_host(host: str) -> tuple[str, int | None]:
    """Splits `Host` into address and port; an IPv6 address loses its brackets.

    It has no user and password (RFC 9110, 7.2); those that a client puts there are left out.
    """
    host = host.rpartition("@")[2]
    name, colon, port = host.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= _MOST_DIGITS and int(port) <= _LARGEST_PORT
    if not colon or not is_port:
        name, port = host, ""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name, int(port) if port else None
