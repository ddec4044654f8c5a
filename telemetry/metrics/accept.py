"""Which format of `/metrics` a scraper prefers, by its `Accept` header (RFC 9110, section 12.5.1).

prometheus_client takes the first format that it finds in the header, whatever its weight, and a weight of 0
for a wish.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_KIND = re.compile(rf"{_WORD}/{_WORD}")
_PARAMETER = re.compile(rf'({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")')
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ESCAPINGS = frozenset({"allow-utf-8", "underscores", "dots", "values"})
_OPEN_METRICS = "application/openmetrics-text", "1.0.0"
_TEXT = "text/plain", "0.0.4"
_TEXT_1 = "text/plain", "1.0.0"
_OFFERS = _OPEN_METRICS, _TEXT_1, _TEXT
"""Type and version of each format; of those that are named with equal weights, the first one is sent."""
_ANYTHING, _TYPE, _NAMED = 1, 2, 3
"""How specific a media range is; each parameter adds one."""


class _Range(NamedTuple):
    kind: str
    """Type and subtype in lower case; either may be `*`."""
    parameters: dict[str, str]
    weight: float


class _Choice(NamedTuple):
    weight: float
    is_named: bool
    rank: int
    canonical: str


def choose_format(accept: str) -> str:
    """Returns the preferred format as a media type, with the version and the escaping that were asked for.

    The most specific media range decides on a format, the highest weight among formats. Between equals,
    OpenMetrics wins where the scraper names it and the plain text of version 0.0.4 where it takes anything.
    That is sent, too, where nothing is acceptable: a scraper is better served with a page than with 406.

    Args:
        accept: the header's value; its lines joined by commas; empty if there was none.
    """
    ranges = list(_ranges(accept))
    choices = [choice for offer in _OFFERS if (choice := _choice(offer, ranges)) is not None]
    return max(choices).canonical if choices else "text/plain; version=0.0.4"


def _choice(offer: tuple[str, str], ranges: list[_Range]) -> _Choice | None:
    """Returns how much an offer is wanted; None if it is not acceptable."""
    matching = [(level, each) for each in ranges if (level := _specificity(each, offer))]
    if not matching:
        return None
    level, decisive = max(matching, key=lambda match: match[0])
    if decisive.weight == 0:
        return None
    is_named = level >= _NAMED
    index = _OFFERS.index(offer)
    kind, version = offer
    canonical = f"{kind}; version={version}"
    if decisive.parameters.get("escaping") in _ESCAPINGS:
        canonical += f"; escaping={decisive.parameters['escaping']}"
    return _Choice(decisive.weight, is_named, -index if is_named else index, canonical)


def _specificity(wanted: _Range, offer: tuple[str, str]) -> int:
    """Returns how specifically a media range asks for an offer; 0 if it does not match."""
    kind, version = offer
    asked = wanted.parameters
    if "version" not in asked and offer == _TEXT_1:
        return 0  # who names no version knows 0.0.4
    if wanted.kind == kind:
        own = {"version": version, "charset": "utf-8"}
        matches = all(name == "escaping" or own.get(name) == value for name, value in asked.items())
        return _NAMED + len(asked) if matches else 0
    if asked:
        return 0
    if wanted.kind == "*/*":
        return _ANYTHING
    return _TYPE if wanted.kind == f"{kind.partition('/')[0]}/*" else 0


def _ranges(accept: str) -> Iterator[_Range]:
    """Yields the media ranges of a header; what is malformed is left out."""
    for element in _split(accept, ","):
        kind, *rest = _split(element, ";")
        found = [_PARAMETER.fullmatch(each) for each in rest if each]
        if not _KIND.fullmatch(kind) or None in found:
            continue
        parameters = {match[1].lower(): _unquoted(match[2]).lower() for match in found if match is not None}
        weight = parameters.pop("q", "1")
        if _WEIGHT.fullmatch(weight):
            yield _Range(kind.lower(), parameters, float(weight))


def _split(text: str, separator: str) -> list[str]:
    """Splits outside of quoted strings, and strips the parts."""
    parts, start = [], 0
    is_quoted = is_escaped = False
    for position, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = is_quoted
        elif character == '"':
            is_quoted = not is_quoted
        elif character == separator and not is_quoted:
            parts.append(text[start:position].strip(" \t"))
            start = position + 1
    return [*parts, text[start:].strip(" \t")]


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
