"""Where one signal is exported to, and how."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Destination:
    """What a transport is built from; a signal's own settings, or the general ones where it has none."""

    endpoint: str
    headers: Mapping[str, str]
    is_insecure: bool
    """Whether gRPC runs without TLS; for HTTP the endpoint's scheme says it."""
    is_compressed: bool
    """Whether requests are sent with gzip."""
    certificate: str | None
    """File of the CA certificate; None for the system's authorities."""
    client_key: str | None
    client_certificate: str | None
