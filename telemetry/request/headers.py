"""The headers of a request that matter here: those of attributes, and those of propagators."""

from opentelemetry import propagate
from opentelemetry.propagators.textmap import Getter
from starlette.types import Scope

_FOR_ATTRIBUTES = frozenset({b"host", b"user-agent"})
_W3C_FIELDS = frozenset({"traceparent", "tracestate", "baggage"})
_W3C_HEADERS = frozenset(field.encode() for field in _W3C_FIELDS)


class LowerCaseGetter(Getter[dict[str, str]]):
    """Reads headers, whose names are in lower case, for propagators that spell theirs otherwise."""

    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        """Returns the header's value, if it was sent."""
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: dict[str, str]) -> list[str]:
        """Returns the names of every header."""
        return list(carrier)


def read_headers(scope: Scope) -> tuple[dict[bytes, bytes], dict[str, str]]:
    """Returns the headers that attributes need, and those that propagators read."""
    wanted: dict[bytes, bytes] = {}
    carrier: dict[str, str] = {}
    takes_any = not propagate.get_global_textmap().fields <= _W3C_FIELDS
    for key, value in scope.get("headers", ()):
        if key in _FOR_ATTRIBUTES:
            wanted.setdefault(key, value)
        if takes_any or key in _W3C_HEADERS:
            name, text = key.decode("latin-1"), value.decode("latin-1")
            # A list that comes in several lines is joined (RFC 9110, 5.3); for others that is malformed.
            carrier[name] = f"{carrier[name]},{text}" if name in carrier else text
    return wanted, carrier
