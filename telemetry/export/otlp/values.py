"""Encodes attribute values as OTLP bytes (opentelemetry-proto, `common/v1/common.proto`).

An instance of a subclass (an `IntEnum`, a `StrEnum`, numpy's `float64`) is written as a value of its base
type, read by that type's own methods: no override of the subclass is called, so none can raise, lie or hang.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .field_numbers import (
    KEY_VALUE_KEY,
    KEY_VALUE_VALUE,
    LIST_VALUES,
    VALUE_ARRAY,
    VALUE_BOOL,
    VALUE_BYTES,
    VALUE_DOUBLE,
    VALUE_INT,
    VALUE_KVLIST,
    VALUE_STRING,
)
from .wire import FIXED64, LENGTH_DELIMITED, VARINT, delimited, tag, varint

DEEPEST_VALUE = 32
"""The maximum nesting of a value; a list that contains itself would never end."""
_PACK_DOUBLE = struct.Struct("<d").pack
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 1
_STRING, _INT, _DOUBLE = (
    tag(VALUE_STRING, LENGTH_DELIMITED),
    tag(VALUE_INT, VARINT),
    tag(VALUE_DOUBLE, FIXED64),
)
_FALSE, _TRUE = tag(VALUE_BOOL, VARINT) + varint(0), tag(VALUE_BOOL, VARINT) + varint(1)
_VALUE = tag(KEY_VALUE_VALUE, LENGTH_DELIMITED)


def text_head(size: int) -> bytes:
    """Returns the bytes that precede a string of this size as the value of a `KeyValue`."""
    head = _STRING + varint(size)
    return _VALUE + varint(len(head) + size) + head


TEXT_HEADS = [text_head(size) for size in range(256)]
SMALL_INTEGER_HEADS = [_VALUE + varint(len(_INT) + size) + _INT for size in range(4)]
"""The bytes that precede an integer, whose `varint` has up to three bytes, as the value of a `KeyValue`."""


def encode_key(key: str) -> bytes:
    """Encodes the key of a `KeyValue`; omits an empty one, as the official encoder does."""
    return delimited(KEY_VALUE_KEY, encode_text(key)) if key else b""


def encode_text(text: str) -> bytes:
    """Encodes text as UTF-8, which protobuf requires; a lone surrogate becomes a question mark."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, errors="replace")


def encode_value(value: Any, depth: int) -> bytes:
    """Encodes an `AnyValue` message.

    Raises:
        TypeError: OTLP has no such type.
        ValueError: the value is out of range, or nested too deeply.
    """
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value, depth)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value, depth)
    raise TypeError(f"OTLP has no type for {type(value).__name__}")


def _encode_integer(value: int, _: int) -> bytes:
    if type(value) is not int:
        value = int.__int__(value)
    if not _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
        raise ValueError("an integer does not fit into 64 bits")
    return _INT + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _encode_list(values: Sequence[Any], depth: int) -> bytes:
    deeper = _one_deeper(depth)
    return delimited(
        VALUE_ARRAY, b"".join(delimited(LIST_VALUES, encode_value(each, deeper)) for each in values)
    )


def _encode_mapping(values: Mapping[Any, Any], depth: int) -> bytes:
    deeper = _one_deeper(depth)
    pairs = (
        encode_key(name) + delimited(KEY_VALUE_VALUE, encode_value(each, deeper))
        for name, each in ((_exact_key(key), each) for key, each in values.items())
    )
    return delimited(VALUE_KVLIST, b"".join(delimited(LIST_VALUES, pair) for pair in pairs))


def _exact_key(key: Any) -> str:
    # str() of a subclass may return something else: "Color.RED" although its text is "red".
    return str.__str__(key) if isinstance(key, str) else str(key)


def _one_deeper(depth: int) -> int:
    if not depth:
        raise ValueError("a value is nested too deeply")
    return depth - 1


_WRITERS: dict[type, Callable[[Any, int], bytes]] = {
    type(None): lambda _, __: b"",
    bool: lambda value, _: _TRUE if value else _FALSE,
    str: lambda value, _: delimited(VALUE_STRING, encode_text(value)),
    int: _encode_integer,
    float: lambda value, _: _DOUBLE + _PACK_DOUBLE(float.__float__(value)),
    bytes: lambda value, _: delimited(VALUE_BYTES, bytes.__bytes__(value)),
    Sequence: _encode_list,
    Mapping: _encode_mapping,
}
