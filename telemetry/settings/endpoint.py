"""OTLP endpoints: what is a usable one, where it leads, and how it is shown (OTLP exporter specification)."""

from urllib.parse import SplitResult, urlsplit

OTLP_TRACES_PATH, OTLP_METRICS_PATH = "/v1/traces", "/v1/metrics"
_DEFAULTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_PORT_OF_THE_OTHER_PROTOCOL = {"grpc": 4318, "http/protobuf": 4317}


def default_endpoint(protocol: str) -> str:
    """Where a Collector of that protocol usually is; of gRPC for a protocol that does not exist."""
    return _DEFAULTS.get(protocol, _DEFAULTS["grpc"])


def check_endpoint(value: str) -> str:
    """Returns a usable endpoint as it is.

    Raises:
        ValueError: it is no address.
    """
    try:
        parts = _split(value)
        is_usable = parts.scheme in {"http", "https", ""} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("not an address such as http://localhost:4317 or https://collector.example:4318")
    return value


def check_scheme(value: str, protocol: str, variable: str) -> None:
    """Checks that an endpoint says whether it is to be reached over TLS, where its protocol has no default.

    Raises:
        ValueError: it has no scheme.
    """
    if protocol == "http/protobuf" and "://" not in value:
        shown = without_secrets(value)
        raise ValueError(f"{variable}={shown!r} needs http:// or https:// in front for http/protobuf")


def signal_endpoint(general: str, protocol: str, path: str) -> str:
    """Where a general endpoint takes a signal: HTTP has a path for each, gRPC has none."""
    return general.rstrip("/") + path if protocol == "http/protobuf" else general


def grpc_target(endpoint: str) -> str:
    """`host:port` of an endpoint, as gRPC takes it; 4317 where no port is named."""
    parts = _split(endpoint)
    host = parts.hostname or ""
    return f"[{host}]:{parts.port or 4317}" if ":" in host else f"{host}:{parts.port or 4317}"


def is_same_server(one: str, other: str, protocol: str) -> bool:
    """Whether two endpoints lead to the same host and port."""
    return _server(one, protocol) == _server(other, protocol)


def _server(endpoint: str, protocol: str) -> tuple[str | None, int]:
    parts = _split(endpoint)
    usual = {"https": 443}.get(parts.scheme, 80) if protocol == "http/protobuf" else 4317
    return parts.hostname, parts.port or usual


def without_secrets(endpoint: str) -> str:
    """The endpoint without credentials or query, for logs and health."""
    scheme, separator, rest = endpoint.rpartition("://")
    return f"{scheme}{separator}{rest.split('?')[0].rpartition('@')[2]}"


def is_insecure(endpoint: str, *, flag: bool | None) -> bool:
    """Whether gRPC goes without TLS: the scheme decides, the flag only where there is none."""
    scheme = _split(endpoint).scheme
    return scheme == "http" or (scheme == "" and bool(flag))


def port_of_other_protocol(endpoint: str, protocol: str) -> int | None:
    """The endpoint's port, if it is the usual one of the other protocol: almost always a mistake."""
    port = _split(endpoint).port
    return port if port == _PORT_OF_THE_OTHER_PROTOCOL[protocol] else None


def _split(endpoint: str) -> SplitResult:
    # gRPC takes addresses without a scheme, which urlsplit would take for one.
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
