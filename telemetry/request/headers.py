"""The headers of a request that matter here: of attributes, of propagators, and those to be captured."""

import re
from collections.abc import Iterable
from functools import lru_cache

from opentelemetry import propagate
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

FORWARDED_FOR = b"x-forwarded-for"
_W3C_FIELDS = frozenset({"traceparent", "tracestate", "baggage"})
_W3C_HEADERS = frozenset(field.encode() for field in _W3C_FIELDS)
HIDDEN = "[REDACTED]"
CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
"""Headers whose values are hidden unless they are captured by their very names, not by a wider pattern."""
_LONGEST_VALUE = 2_048
_latest: tuple[TextMapPropagator | None, bool] = (None, True)
_MOST_NAMES = 1_024
"""Names whose meaning is remembered, unless they are long: clients may send any."""
_LONGEST_NAME = 256


class LowerCaseGetter(Getter[dict[str, str]]):
    """Reads headers, whose names are in lower case, for propagators that spell theirs otherwise."""

    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        """Returns the header's value, if it was sent."""
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: dict[str, str]) -> list[str]:
        """Returns the names of every header."""
        return list(carrier)


def first_values(scope: Scope) -> dict[bytes, bytes]:
    """Returns the first value of each header, by its name in lower case; of `X-Forwarded-For` all of them."""
    headers = scope.get("headers", ())
    if type(headers) is not list and not isinstance(headers, list | tuple):
        # It may be read once only (ASGI: an iterable); Starlette keeps it likewise.
        headers = scope["headers"] = list(headers)
    first = dict(headers)
    if len(first) != len(headers):
        # A dictionary keeps the last one.
        first.update(reversed(headers))
        forwarded = [value for name, value in headers if name == FORWARDED_FOR]
        if forwarded:
            first[FORWARDED_FOR] = b",".join(forwarded)
    return first


def for_propagators(scope: Scope, first: dict[bytes, bytes]) -> dict[str, str] | None:
    """Returns the headers that the process's propagators read; None if there are none.

    Args:
        scope: the request's.
        first: its `first_values`.
    """
    propagator = propagate.get_global_textmap()
    known, takes_any = _latest
    if propagator is not known:
        takes_any = _takes_any_header(propagator)
    if not takes_any and _W3C_HEADERS.isdisjoint(first):
        return None
    carrier: dict[str, str] = {}
    for key, value in scope.get("headers", ()):
        if takes_any or key in _W3C_HEADERS:
            name, text = key.decode("latin-1"), value.decode("latin-1")
            # A list that comes in several lines is joined (RFC 9110, 5.3); for others that is malformed.
            carrier[name] = f"{carrier[name]},{text}" if name in carrier else text
    return carrier


def _takes_any_header(propagator: TextMapPropagator) -> bool:
    """Whether the process's propagators read more than the headers of W3C."""
    global _latest  # noqa: PLW0603 - replaced as a whole, so threads may share it
    takes_any = not propagator.fields <= _W3C_FIELDS
    _latest = propagator, takes_any
    return takes_any


class CapturedHeaders:
    """Headers that become attributes, `http.request.header.<name>`, each a list of its values. Thread-safe.

    Args:
        of: `request` or `response`.
        patterns: names or regular expressions; one that matches a whole name, in any case, captures it.
        hidden: names or regular expressions; the values of a header whose name contains one are replaced.
        has_old: whether attributes have their old names, too, with underscores for hyphens.
    """

    def __init__(self, of: str, patterns: Iterable[str], hidden: Iterable[str], *, has_old: bool) -> None:
        self._prefix = f"http.{of}.header."
        self._names = frozenset(pattern.lower() for pattern in patterns)
        self._patterns = tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
        self._hidden = tuple(re.compile(pattern, re.IGNORECASE) for pattern in hidden)
        self._has_old = has_old
        self._attributes_of = lru_cache(_MOST_NAMES)(self._find_attributes)

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, AttributeValue]:
        """Returns the attributes of those headers that are to be captured."""
        attributes: dict[str, list[str]] = {}
        attributes_of = self._attributes_of
        for key, value in headers:
            found = attributes_of(key) if len(key) <= _LONGEST_NAME else self._find_attributes(key)
            if found is None:
                continue
            names, is_hidden = found
            text = HIDDEN if is_hidden else value[:_LONGEST_VALUE].decode("latin-1")
            for name in names:
                attributes.setdefault(name, []).append(text)
        return {name: tuple(values) for name, values in attributes.items()}

    def _find_attributes(self, key: bytes) -> tuple[tuple[str, ...], bool] | None:
        """Returns a header's attributes and whether its value is hidden; None if it is not captured."""
        header = key.decode("latin-1").lower()
        if not any(pattern.fullmatch(header) for pattern in self._patterns):
            return None
        is_hidden = any(pattern.search(header) for pattern in self._hidden) or (
            header in CREDENTIALS and header not in self._names
        )
        name = f"{self._prefix}{header}"
        old = f"{self._prefix}{header.replace('-', '_')}"
        return ((name, old) if self._has_old and old != name else (name,)), is_hidden
