"""The proxy between a process and its Collector, from the variables that most programs read.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are not the library's settings but the machine's. They
are read as `requests`, and so OpenTelemetry's own exporter, reads them: lower case wins, and loopback goes
through the proxy too unless `NO_PROXY` names it. Beyond that, `NO_PROXY` may have networks of IPv6, addresses
with a port, and `*` in a list.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from ...errors import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}
_RULE = "it is not like http://user:password@proxy.example:3128, with special characters %-encoded"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """The value of `Proxy-Authorization`, a secret; None without credentials."""
    is_tls: bool = False
    """Whether the proxy itself is spoken to over TLS; its certificate is verified with the system's."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy for an endpoint; None if it is reached directly.

    Args:
        url: the endpoint.
        environment: the process's variables.

    Raises:
        ConfigurationError: the proxy's URL cannot be used; the message has no credentials.
    """
    parts = urlsplit(url)
    # On Windows names have no case; there the upper one counts.
    variables = dict(environment)
    name, value = _setting(parts.scheme, variables)
    exceptions = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    if not value or is_direct(parts, exceptions):
        return None
    try:
        return _read(value)
    except ValueError as error:
        shown = value.rpartition("@")[2]
        raise ConfigurationError(
            f"{name}={shown!r} (shown without credentials) cannot be used for {parts.hostname}: {error}; "
            f"if {parts.hostname} is reached directly, name it in NO_PROXY"
        ) from None


def is_direct(url: SplitResult, exceptions: str) -> bool:
    """Returns whether `NO_PROXY` excepts an endpoint from the proxy.

    Args:
        url: the endpoint.
        exceptions: names (with the names below them, whether or not a dot leads) and addresses, both with a
            port or without; networks; or `*` for everything; separated by commas or spaces.
    """
    host = (url.hostname or "").rstrip(".")
    address = _address(host)
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    return any(
        _excepts(entry, host, address, port) for entry in re.split(r"[\s,]+", exceptions.lower()) if entry
    )


def basic(user: str, password: str) -> str:
    """Returns the value of an authorization header (RFC 7617) for percent-encoded credentials."""
    credentials = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(credentials).decode()}"


def _setting(scheme: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """Returns the name of the variable that counts, and its value."""
    for lower in (f"{scheme}_proxy", "all_proxy"):
        upper = lower.upper()
        if variables.get(lower):
            return lower, variables[lower].strip()
        # As in urllib: an empty one in lower case hides the other; and under CGI, HTTP_PROXY is what a client
        # sends as the header `Proxy` (CVE-2016-1000110).
        is_hidden = lower in variables or (upper == "HTTP_PROXY" and "REQUEST_METHOD" in variables)
        if variables.get(upper) and not is_hidden:
            return upper, variables[upper].strip()
    return "", ""


def _read(value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(_RULE) from None  # its own message may repeat the password
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{parts.scheme}:// is not supported, only http:// and https://")
    if not host or port == 0 or not host.isprintable() or " " in host:
        raise ValueError(_RULE)
    has_credentials = parts.username is not None or parts.password is not None
    return Proxy(
        host,
        port or DEFAULT_PORTS[parts.scheme],
        basic(parts.username or "", parts.password or "") if has_credentials else None,
        is_tls=parts.scheme == "https",
    )


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _excepts(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    name, _, own_port = entry.rpartition(":")
    if not (name and own_port.isdecimal()):
        name = entry
    elif int(own_port) != port:
        return False
    if address is not None:
        return _address(name.strip("[]")) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
