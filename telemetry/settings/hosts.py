"""Hosts and ports of endpoints: names, IPv4 addresses, and IPv6 addresses in brackets."""

import ipaddress
import re
from urllib.parse import unquote

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_ZONE = re.compile(r"[\w.~-]+", re.ASCII)
_LONGEST_NAME = 253
_MOST_PORTS = 65_535


def split_port(server: str) -> tuple[str, int | None]:
    """Splits `host`, `host:port` or `[address]:port`; the host is as `check_host` returns it.

    Raises:
        ValueError: one of them is malformed. The text is not repeated, since it may be part of a password.
    """
    host, bracket, rest = server.rpartition("]")
    if not bracket:
        host, _, port = server.partition(":")
        if ":" in port and is_ipv6(server):
            raise ValueError("an IPv6 address is written in brackets, as in [::1]:4317")
    else:
        host += bracket
        port = rest.removeprefix(":")
        if rest and rest == port:
            raise ValueError("after the brackets of an IPv6 address comes only :port")
    return check_host(host), _read_port(port)


def check_host(host: str) -> str:
    """Returns a host as the system's resolver takes it: a name in ASCII, an IPv6 address in brackets.

    A zone follows a plain `%`, although URLs have it as `%25` (RFC 6874). A trailing dot, which keeps the
    resolver from trying search domains, stays.

    Raises:
        ValueError: it is none.
    """
    if host.startswith("["):
        address, percent, zone = host[1:-1].partition("%")
        zone = unquote(zone.removeprefix("25") or zone)
        if not host.endswith("]") or not is_ipv6(address) or (percent and not _ZONE.fullmatch(zone)):
            raise ValueError("there is no IPv6 address in the brackets")
        return f"[{address}{percent}{zone}]"
    if not host:
        raise ValueError("it has no host")
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("the host's name has a letter that names cannot have") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(
            "the host is no name of letters, digits and hyphens between dots, and no address "
            "(in a user or password, characters such as / @ : ? are percent-encoded)"
        )
    if all(label.isdecimal() for label in labels) and not is_ipv4(name):
        raise ValueError("the host is no IPv4 address")
    # What needs no DNS, the resolvers know without the dot alone.
    return name.removesuffix(".") if name.lower() == "localhost." else name


def is_ipv4(text: str) -> bool:
    """Returns whether a text is an IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    """Returns whether a text is an IPv6 address, without brackets."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_ip(host: str) -> bool:
    """Returns whether a host, as `check_host` returns it, is an address, not a name."""
    return host.startswith("[") or is_ipv4(host)


def _read_port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _MOST_PORTS):
        raise ValueError(f"the port is no number from 1 to {_MOST_PORTS}")
    return int(text)
