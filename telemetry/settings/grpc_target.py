"""The names that gRPC takes for its servers, beside URLs (gRPC, "gRPC Name Resolution").

| name | servers |
|---|---|
| `dns:///host:port`, `dns:host:port`, `host:port` | every address of the host |
| `dns://server/host:port` | the same, asking that DNS server |
| `ipv4:1.2.3.4:4317,1.2.3.5:4317`, `ipv6:[::1]:4317` | these addresses |
| `unix:/path`, `unix:///path`, `unix-abstract:name` | a socket of this machine |

`xds:` and schemes of other languages' clients are refused: they need more than an address.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

from .escaping import percent_encoded
from .hosts import is_ip, is_ipv6, split_port

SCHEMES = ("dns", "unix", "unix-abstract", "ipv4", "ipv6")
_NAME = re.compile(rf"({'|'.join(SCHEMES)}):(?!\d+$)(.*)", re.IGNORECASE | re.DOTALL)
"""Not `dns:4317`, a host of that name."""
_LONGEST_SOCKET_PATH = 107
"""In bytes, on Linux (unix(7))."""


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """A server, or several, as gRPC and as plain sockets reach them."""

    name: str
    """As gRPC takes it."""
    authority: str | None = None
    """How requests and certificates name the server; None for gRPC's own choice."""
    addresses: tuple[tuple[str, int] | str, ...] = ()
    """Host and port, or a Unix socket's address; none if only gRPC can tell them."""

    @property
    def is_direct(self) -> bool:
        """Whether no proxy can stand in between: a Unix socket, or several addresses."""
        return len(self.addresses) > 1 or any(isinstance(each, str) for each in self.addresses)


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    hosts: tuple[tuple[str, int | None], ...] = ()
    dns_server: str = ""
    path: str = ""
    """Of a Unix socket, percent-encoded."""

    def joined(self, usual_port: int | None = None) -> str:
        if self.path:
            return f"{self.scheme}:{self.path}"
        given = ((host, port or usual_port) for host, port in self.hosts)
        hosts = ",".join(host if port is None else f"{host}:{port}" for host, port in given)
        return f"dns://{self.dns_server}/{hosts}" if self.scheme == "dns" else f"{self.scheme}:{hosts}"


def is_target(value: str) -> bool:
    """Returns whether a text is one of gRPC's names with a scheme."""
    return _NAME.fullmatch(value) is not None


def is_local(value: str) -> bool:
    """Returns whether a text is the name of a Unix socket."""
    return is_target(value) and value.lower().startswith("unix")


def default_port(*, is_insecure: bool) -> int:
    """Returns the port of an address without one: OTLP's own, or with TLS that of https, as gRPC has it."""
    return 4317 if is_insecure else 443


def check_target(value: str) -> str:
    """Returns a name with a scheme in a form that gRPC can use.

    Raises:
        ValueError: it is malformed; the message gives the reason.
    """
    return _parse(value).joined()


def with_port(value: str, *, is_insecure: bool) -> str:
    """Returns a name with a scheme, with the usual port where it has none."""
    return _parse(value).joined(default_port(is_insecure=is_insecure))


def read_target(name: str) -> GrpcTarget:
    """Returns where a name with a port, or `host:port`, leads; of other names, the name alone."""
    try:
        parts = _parse(name if is_target(name) else f"dns:///{name}")
    except ValueError:
        return GrpcTarget(name)
    if parts.path:
        path = unquote(parts.path)
        # Servers refuse a path as authority: gRPC's clients call every local server `localhost`.
        return GrpcTarget(parts.joined(), "localhost", ("\0" + path if parts.scheme != "unix" else path,))
    hosts = [(host, port) for host, port in parts.hosts if port is not None]
    if len(hosts) < len(parts.hosts):
        return GrpcTarget(name)
    return GrpcTarget(
        quote(parts.joined(), safe=":/,"),
        _authority(*hosts[0]),
        () if parts.dns_server else tuple((host.strip("[]"), port) for host, port in hosts),
    )


def _authority(host: str, port: int) -> str:
    # Certificates know neither the trailing dot of a name nor the zone of an address.
    address, percent, _ = host.partition("%")
    return f"{address}]:{port}" if percent else f"{host.removesuffix('.')}:{port}"


def _parse(value: str) -> _Parts:
    scheme, _, rest = value.partition(":")
    scheme = scheme.lower()
    if scheme.startswith("unix"):
        return _Parts(scheme, path=_socket_path(scheme, rest))
    if "@" in rest:
        raise ValueError(f"{scheme}: takes no user and password: write https://user:password@host:port")
    if scheme != "dns":
        return _Parts(scheme, hosts=_addresses(scheme, rest))
    server = ""
    if rest.startswith("//"):
        server, slash, rest = rest.removeprefix("//").partition("/")
        if not slash:
            raise ValueError("after dns:// comes a DNS server; without one, write dns:///host:port")
        if server and not is_ip(split_port(server)[0]):
            raise ValueError("between dns:// and the next / comes the address of a DNS server, or nothing")
    return _Parts(scheme, hosts=(split_port(rest.removeprefix("/")),), dns_server=server)


def _addresses(scheme: str, rest: str) -> tuple[tuple[str, int | None], ...]:
    hosts = tuple(split_port(f"[{each}]" if is_ipv6(each) else each) for each in rest.split(","))
    if not all(is_ip(host) and host.startswith("[") == (scheme == "ipv6") for host, _ in hosts):
        example = "ipv6:[::1]:4317,[::2]:4317" if scheme == "ipv6" else "ipv4:10.0.0.1:4317,10.0.0.2:4317"
        raise ValueError(f"{scheme}: takes addresses, as in {example}")
    return hosts


def _socket_path(scheme: str, rest: str) -> str:
    if rest.startswith("//"):
        if scheme != "unix" or not rest.startswith("///"):
            raise ValueError("a Unix socket is unix:/path, unix:///path or unix-abstract:name")
        rest = rest.removeprefix("//")
    path = percent_encoded(rest, "@")
    if not path:
        raise ValueError(f"{scheme}: takes the path or name of a socket")
    if len(unquote_to_bytes(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"a Unix socket's path has at most {_LONGEST_SOCKET_PATH} bytes")
    return path
