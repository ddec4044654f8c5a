"""OTLP endpoints: validation, resolution and display (OTLP exporter specification).

An endpoint is a URL, or for gRPC also one of the names that gRPC itself takes: see `grpc_target.py`.
"""

import re
from base64 import b64encode
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

from .escaping import percent_encoded
from .grpc_target import SCHEMES, check_target, default_port, is_local, is_target, with_port
from .hosts import split_port

OTLP_TRACES_PATH, OTLP_METRICS_PATH = "/v1/traces", "/v1/metrics"
_DEFAULTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_PORT_OF_THE_OTHER_PROTOCOL = {"grpc": 4318, "http/protobuf": 4317}
_EXAMPLE = "an address is written like http://localhost:4317 or https://collector.example:4318"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TAIL = re.compile("[?#]")


def default_endpoint(protocol: str) -> str:
    """Returns the usual Collector endpoint of a protocol, or gRPC's for an unknown one."""
    return _DEFAULTS.get(protocol, _DEFAULTS["grpc"])


def check_endpoint(value: str, protocol: str) -> str:
    """Returns an endpoint in the form in which it is used.

    Its scheme is in lower case and its host in ASCII; what needs it in path and query is percent-encoded.
    An address without a scheme is left to `check_scheme` if the protocol needs one.

    Raises:
        ValueError: it is no address, or exports to it could only fail; the message gives the reason.
    """
    value = value.strip()
    is_grpc = protocol != "http/protobuf"
    if not is_grpc and "://" not in value:
        return value
    try:
        return check_target(value) if is_grpc and is_target(value) else _check_url(value, is_grpc=is_grpc)
    except ValueError as error:
        raise ValueError(f"{error}; {_EXAMPLE}") from None


def _check_url(value: str, *, is_grpc: bool) -> str:
    if _CONTROL.search(value):
        raise ValueError("it has a control character in it, such as an end of a line")
    try:
        parts = _split(value)
    except ValueError:
        # Its message may repeat a password.
        raise ValueError("its brackets or letters are not those of an address") from None
    if "://" in value and parts.scheme not in {"http", "https"}:
        others = f", and for gRPC none of {', '.join(f'{each}:' for each in SCHEMES)}" if is_grpc else ""
        raise ValueError(f"its scheme is neither http:// nor https://{others}")
    if "#" in value:
        raise ValueError("what follows a # is never sent; one that belongs to the address is written %23")
    if "@" in parts.path:
        raise ValueError("in a path an @ is written %40, in a password a / is written %2F")
    if is_grpc and (parts.path.strip("/") or parts.query):
        raise ValueError(
            "gRPC takes a host and a port, but no path or query; "
            "an address that has them is for the protocol http/protobuf"
        )
    user, _, server = parts.netloc.rpartition("@")
    if ":" in unquote(user.partition(":")[0]):
        raise ValueError("a user's name cannot have a colon in it (RFC 7617)")
    host, port = split_port(server)
    user, path, query = (percent_encoded(text, "@?") for text in (user, parts.path, parts.query))
    return "".join(
        (
            parts.scheme and f"{parts.scheme}://",
            user and f"{user}@",
            host,
            "" if port is None else f":{port}",
            path or ("/" if query else ""),
            query and f"?{query}",
        )
    )


def check_scheme(value: str, protocol: str, variable: str) -> None:
    """Checks that an endpoint has a scheme, which decides on TLS, if its protocol has no default.

    Raises:
        ValueError: it has no scheme.
    """
    if protocol == "http/protobuf" and "://" not in value:
        shown = without_possible_secrets(value)
        raise ValueError(f"{variable}={shown!r} needs http:// or https:// in front for http/protobuf")


def signal_endpoint(general: str, protocol: str, path: str) -> str:
    """Returns a signal's endpoint from the general one: HTTP has a path for each signal, gRPC has none."""
    if protocol != "http/protobuf":
        return general
    address, separator, query = general.partition("?")
    return address.rstrip("/") + path + separator + query


def grpc_target(endpoint: str, *, is_insecure: bool) -> str:
    """Returns the name by which gRPC finds an endpoint's servers, with a port."""
    if is_target(endpoint):
        return with_port(endpoint, is_insecure=is_insecure)
    host, port = split_port(_split(endpoint).netloc.rpartition("@")[2])
    # Without the scheme, hosts named `unix` or `dns` would be taken for one.
    return f"dns:///{host}:{port or default_port(is_insecure=is_insecure)}"


def basic_credentials(endpoint: str) -> str | None:
    """Returns the `authorization` of an endpoint's user and password (RFC 7617); None if it has none."""
    user = "" if is_target(endpoint) else _split(endpoint).netloc.rpartition("@")[0]
    if not user:
        return None
    name, _, password = user.partition(":")
    return f"Basic {b64encode(unquote_to_bytes(name) + b':' + unquote_to_bytes(password)).decode()}"


def is_same_server(one: str, other: str, protocol: str) -> bool:
    """Returns whether two endpoints lead to the same host and port."""
    return _server(one, protocol) == _server(other, protocol)


def _server(endpoint: str, protocol: str) -> tuple[str | None, int]:
    if is_target(endpoint):
        return endpoint, 0
    parts = _split(endpoint)
    is_secure = parts.scheme == "https"
    usual = default_port(is_insecure=not is_secure) if protocol == "grpc" else 443 if is_secure else 80
    return parts.hostname, parts.port or usual


def without_secrets(endpoint: str) -> str:
    """Returns a checked endpoint without credentials or query, for logs and health."""
    if is_local(endpoint):
        return endpoint
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        scheme, rest = "", endpoint
    return f"{scheme}{separator}{_TAIL.split(rest, maxsplit=1)[0].rpartition('@')[2]}"


def without_possible_secrets(value: str) -> str:
    """Returns what of a malformed endpoint cannot be part of a password, for a message about it."""
    head, *tail = _TAIL.split(value, maxsplit=1)
    if any("@" in each for each in tail):  # perhaps a password with a ? or # in it
        return f"{head.partition('://')[0]}://..." if "://" in head else "..."
    return without_secrets(value)


def is_insecure(endpoint: str, *, flag: bool | None) -> bool:
    """Returns whether gRPC runs without TLS.

    The scheme http or https decides; without one, the flag does. Unset, it means TLS, except for a Unix
    socket, as in OpenTelemetry's Go exporter.
    """
    if is_target(endpoint):
        return is_local(endpoint) if flag is None else flag
    scheme = _split(endpoint).scheme
    return scheme == "http" or (scheme == "" and bool(flag))


def port_of_other_protocol(endpoint: str, protocol: str) -> int | None:
    """Returns the endpoint's port if it is the other protocol's usual one, almost always a mistake."""
    port = None if is_target(endpoint) else _split(endpoint).port
    return port if port == _PORT_OF_THE_OTHER_PROTOCOL[protocol] else None


def _split(endpoint: str) -> SplitResult:
    # gRPC takes addresses without a scheme, whose host urlsplit would take for one.
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
