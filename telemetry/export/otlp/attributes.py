"""Encodes attributes as fields of a span, those that come again and again once."""

from collections.abc import Mapping
from typing import Any

from . import field_numbers as numbers
from .values import (
    DEEPEST_VALUE,
    SMALL_INTEGER_HEADS,
    TEXT_HEADS,
    encode_key,
    encode_text,
    encode_value,
    text_head,
)
from .wire import LENGTH_DELIMITED, delimited, tag, varint

ATTRIBUTE = tag(numbers.SPAN_ATTRIBUTES, LENGTH_DELIMITED)
MOST_CACHED = 4_096
"""Entries per cache, each at most `LONGEST_CACHED` bytes long; a full cache is cleared."""
LONGEST_CACHED = 256
_MOST_VALUES_OF_A_KEY = 256
_MOST_HEADS = len(TEXT_HEADS)
_HEADS = [ATTRIBUTE + varint(size) for size in range(_MOST_HEADS)]
_GREATEST_SMALL_INTEGER = 2**21 - 1
"""The greatest whose `varint` has three bytes."""


class SharedAttributes:
    """Attributes that many spans have, with texts and integers as their values; encoded once. Immutable.

    Args:
        values: the attributes.
    """

    __slots__ = ("encoded", "values")

    def __init__(self, values: Mapping[str, str | int]) -> None:
        self.values = values
        self.encoded: bytes | None = None
        """As fields of a span, once an encoder has seen them."""


Given = tuple[*tuple[SharedAttributes, ...], dict[str, Any]]
"""What a span begins with: few attributes that it shares with others, and at the end those of its own."""
Attributes = Mapping[str, Any] | tuple[Mapping[str, Any] | SharedAttributes, ...] | None
"""Attributes with different keys, in parts if it is a tuple."""


class _Key:
    """An attribute's key, encoded, and the fields of its values so far."""

    __slots__ = ("encoded", "fields")

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        # A key with a new value in each span is not worth many.
        self.fields: dict[str | int, bytes] = {}


class AttributeEncoder:
    """An encoder of attributes. For use by one thread.

    After `append`, `lost` counts the attributes so far that OTLP cannot represent.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._keys: dict[str, _Key] = {}
        self._cached = 0

    def append(self, parts: list[bytes], attributes: Attributes, tag: bytes = ATTRIBUTE) -> int:
        """Appends each attribute as a field with this one-byte tag; returns how many were omitted."""
        if not attributes:
            return 0
        if not isinstance(attributes, tuple):
            return self._append(parts, attributes, tag)
        lost = 0
        for each in attributes:
            if isinstance(each, SharedAttributes):
                parts.append(self._share(each) if each.encoded is None else each.encoded)
            else:
                lost += self._append(parts, each, tag)
        return lost

    def _append(self, parts: list[bytes], attributes: Mapping[str, Any], tag: bytes) -> int:
        lost = 0
        keys = self._keys
        for key, value in attributes.items():
            try:
                kind = type(value)
                # Exact types only: True, 1 and 1.0 are equal but different attributes, and the hash and
                # equality of a subclass must not be called.
                if (kind is str or kind is int) and type(key) is str:
                    known = keys.get(key) or self._key(key)
                    field = known.fields.get(value) or self._encode_plain(known, value, kind)
                else:
                    field = self._encode_other(key, value)
            except Exception:  # noqa: BLE001 - a bad value costs only itself
                lost += 1
                continue
            parts.append(field if tag is ATTRIBUTE else tag + field[1:])
        if lost:
            self.lost += lost
        return lost

    def _share(self, attributes: SharedAttributes) -> bytes:
        parts: list[bytes] = []
        self._append(parts, attributes.values, ATTRIBUTE)
        encoded = attributes.encoded = b"".join(parts)
        return encoded

    def _key(self, key: str) -> _Key:
        known = _Key(encode_key(key))
        if len(known.encoded) <= LONGEST_CACHED:
            self._make_room()
            self._keys[key] = known
        return known

    def _encode_plain(self, known: _Key, value: Any, kind: type) -> bytes:
        """Encodes a `KeyValue` whose value is exactly a text or an integer."""
        if kind is str:
            try:
                text: bytes = value.encode()
            except UnicodeEncodeError:
                text = encode_text(value)
            size = len(text)
            body = known.encoded + (TEXT_HEADS[size] if size < _MOST_HEADS else text_head(size)) + text
        elif 0 <= value <= _GREATEST_SMALL_INTEGER:
            digits = varint(value)
            body = known.encoded + SMALL_INTEGER_HEADS[len(digits)] + digits
        else:
            body = known.encoded + delimited(numbers.KEY_VALUE_VALUE, encode_value(value, DEEPEST_VALUE))
        size = len(body)
        field = (_HEADS[size] if size < _MOST_HEADS else ATTRIBUTE + varint(size)) + body
        if size <= LONGEST_CACHED and len(known.fields) < _MOST_VALUES_OF_A_KEY:
            self._make_room()
            known.fields[value] = field
        return field

    def _encode_other(self, key: Any, value: Any) -> bytes:
        if type(key) is not str:
            key = str.__str__(key)
        known = self._keys.get(key) or self._key(key)
        body = known.encoded + delimited(numbers.KEY_VALUE_VALUE, encode_value(value, DEEPEST_VALUE))
        return ATTRIBUTE + varint(len(body)) + body

    def _make_room(self) -> None:
        self._cached += 1
        if self._cached > MOST_CACHED:
            self._keys.clear()
            self._cached = 1
