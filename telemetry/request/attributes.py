"""The attributes of a server span (OpenTelemetry semantic conventions, HTTP server, stable).

They are read from the ASGI scope alone: the server, or a middleware that trusts its proxy, decides who the
client is. Long values are cut, and the values of query parameters that carry credentials are redacted.
"""

from collections.abc import Mapping
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
from starlette.types import Scope

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
_LARGEST_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def method_of(scope: Scope) -> str:
    """Returns the request's method, bounded: `_OTHER` for one that HTTP does not know."""
    method: str = scope.get("method", "GET")  # the handshake of a WebSocket is a GET
    return method if method in KNOWN_METHODS else OTHER_METHOD


def request_attributes(
    scope: Scope, method: str, headers: Mapping[bytes, bytes]
) -> dict[str, AttributeValue]:
    """Returns what is known of a request before it is answered.

    Args:
        scope: the request's.
        method: as `method_of` gives it.
        headers: the first value of each header that is needed, by its name in lower case.
    """
    scheme = scope.get("scheme", "http")
    attributes: dict[str, AttributeValue] = {
        http_attributes.HTTP_REQUEST_METHOD: method,
        url_attributes.URL_SCHEME: scheme,
        url_attributes.URL_PATH: scope["path"][:LONGEST_VALUE],
    }
    if method == OTHER_METHOD:
        attributes[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] = scope["method"][:LONGEST_VALUE]
    query = scope.get("query_string")
    if query:
        attributes[url_attributes.URL_QUERY] = redact_query(query.decode("latin-1"))[:LONGEST_VALUE]
    version = scope.get("http_version")
    if version:
        attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = version
    _add_server(attributes, scope, headers.get(b"host"), scheme)
    client = scope.get("client")
    if client:
        address, port = client[:2]
        attributes[client_attributes.CLIENT_ADDRESS] = address
        if port:  # without one the address is a header's, and the peer is not known
            attributes[network_attributes.NETWORK_PEER_ADDRESS] = address
            attributes[network_attributes.NETWORK_PEER_PORT] = port
    agent = headers.get(b"user-agent")
    if agent:
        attributes[user_agent_attributes.USER_AGENT_ORIGINAL] = agent[:LONGEST_VALUE].decode("latin-1")
    return attributes


def redact_query(query: str) -> str:
    """Returns the query with the values of sensitive parameters replaced."""
    if "=" not in query:
        return query
    return "&".join(_redact(parameter) for parameter in query.split("&"))


def _redact(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={REDACTED}" if equals and unquote(name).lower() in REDACTED_PARAMETERS else parameter


def _add_server(attributes: dict[str, Any], scope: Scope, host: bytes | None, scheme: str) -> None:
    """Adds the address that the client asked for, from `Host`, else the one that the server listens on."""
    address: str | None
    port: int | None
    if host:
        address, port = _split_host(host[:LONGEST_VALUE].decode("latin-1"))
        port = port or _DEFAULT_PORTS.get(scheme)
    else:
        address, port = scope.get("server") or (None, None)
    if address:
        attributes[server_attributes.SERVER_ADDRESS] = address
        if port:
            attributes[server_attributes.SERVER_PORT] = port


def _split_host(host: str) -> tuple[str, int | None]:
    """Splits `Host` into address and port; an IPv6 address loses its brackets."""
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port[:6]) > _LARGEST_PORT:
        name, port = host, ""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name, int(port) if port else None
