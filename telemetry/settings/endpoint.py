"""OTLP endpoints: validation, resolution and display (OTLP exporter specification)."""

from urllib.parse import SplitResult, urlsplit

OTLP_TRACES_PATH, OTLP_METRICS_PATH = "/v1/traces", "/v1/metrics"
_DEFAULTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_PORT_OF_THE_OTHER_PROTOCOL = {"grpc": 4318, "http/protobuf": 4317}


def default_endpoint(protocol: str) -> str:
    """Returns the usual Collector endpoint of a protocol, or gRPC's for an unknown one."""
    return _DEFAULTS.get(protocol, _DEFAULTS["grpc"])


def check_endpoint(value: str) -> str:
    """Returns a usable endpoint unchanged.

    Raises:
        ValueError: it is not an address.
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
    """Checks that an endpoint has a scheme, which decides on TLS, if its protocol has no default.

    Raises:
        ValueError: it has no scheme.
    """
    if protocol == "http/protobuf" and "://" not in value:
        shown = without_secrets(value)
        raise ValueError(f"{variable}={shown!r} needs http:// or https:// in front for http/protobuf")


def signal_endpoint(general: str, protocol: str, path: str) -> str:
    """Returns a signal's endpoint from the general one: HTTP has a path for each signal, gRPC has none."""
    return general.rstrip("/") + path if protocol == "http/protobuf" else general


def grpc_target(endpoint: str) -> str:
    """Returns an endpoint's `host:port`, as gRPC takes it; the port defaults to 4317."""
    parts = _split(endpoint)
    host = parts.hostname or ""
    return f"[{host}]:{parts.port or 4317}" if ":" in host else f"{host}:{parts.port or 4317}"


def is_same_server(one: str, other: str, protocol: str) -> bool:
    """Returns whether two endpoints lead to the same host and port."""
    return _server(one, protocol) == _server(other, protocol)


def _server(endpoint: str, protocol: str) -> tuple[str | None, int]:
    parts = _split(endpoint)
    usual = {"https": 443}.get(parts.scheme, 80) if protocol == "http/protobuf" else 4317
    return parts.hostname, parts.port or usual


def without_secrets(endpoint: str) -> str:
    """Returns the endpoint without credentials or query, for logs and health."""
    scheme, separator, rest = endpoint.rpartition("://")
    return f"{scheme}{separator}{rest.split('?')[0].rpartition('@')[2]}"


def is_insecure(endpoint: str, *, flag: bool | None) -> bool:
    """Returns whether gRPC runs without TLS: the scheme decides, or the flag if there is none."""
    scheme = _split(endpoint).scheme
    return scheme == "http" or (scheme == "" and bool(flag))


def port_of_other_protocol(endpoint: str, protocol: str) -> int | None:
    """Returns the endpoint's port if it is the other protocol's usual one, almost always a mistake."""
    port = _split(endpoint).port
    return port if port == _PORT_OF_THE_OTHER_PROTOCOL[protocol] else None


def _split(endpoint: str) -> SplitResult:
    # gRPC takes addresses without a scheme, whose host urlsplit would take for one.
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
