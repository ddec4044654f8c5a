"""The attributes that server spans had before the HTTP conventions were stable, for `http/dup`.

Names and values are those that opentelemetry-python-contrib writes for ASGI, so that queries and dashboards
made for it go on working while they are changed to the stable names.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.semconv.attributes import (
    client_attributes,
    http_attributes,
    network_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

OLD_STATUS_CODE = "http.status_code"
_LONGEST_VALUE = 2_048
_SAME = (
    ("http.method", http_attributes.HTTP_REQUEST_METHOD),
    ("http.scheme", url_attributes.URL_SCHEME),
    ("http.target", url_attributes.URL_PATH),
    ("http.flavor", network_attributes.NETWORK_PROTOCOL_VERSION),
    ("http.user_agent", user_agent_attributes.USER_AGENT_ORIGINAL),
    ("net.peer.ip", client_attributes.CLIENT_ADDRESS),
)
"""Old names, and the stable ones whose values they had."""
_DEFAULT_PORT = 80


def old_attributes(scope: Scope, stable: Mapping[str, Any], host: bytes | None) -> dict[str, AttributeValue]:
    """Returns the old attributes of a request.

    Args:
        scope: the request's.
        stable: its stable attributes, with secrets redacted.
        host: the value of its `Host` header.
    """
    attributes = {old: stable[name] for old, name in _SAME if name in stable}
    address, port = scope.get("server") or ("", None)
    authority = f"{address}:{port}" if port and port != _DEFAULT_PORT else str(address)
    if authority:
        attributes["http.host"] = authority
    if port:
        attributes["net.host.port"] = port
    if host:
        authority = host[:_LONGEST_VALUE].decode("latin-1")
        attributes["http.server_name"] = authority
    query = stable.get(url_attributes.URL_QUERY)
    url = f"{stable[url_attributes.URL_SCHEME]}://{authority}{stable[url_attributes.URL_PATH]}"
    attributes["http.url"] = (f"{url}?{query}" if query else url)[:_LONGEST_VALUE]
    client = scope.get("client")
    if client and client[1]:
        attributes["net.peer.port"] = client[1]
    return attributes
