"""The protobuf wire format, as far as OTLP needs it (protobuf documentation, "Encoding")."""

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_MORE = 0x80
_SEVEN_BITS = 0x7F


def varint(value: int) -> bytes:
    """Encodes a non-negative integer, seven bits per byte, lowest first."""
    if value < _MANY:
        return _SMALL[value]
    return _CONTINUED[value & _SEVEN_BITS] + varint(value >> 7)


def tag(field: int, wire_type: int) -> bytes:
    """Encodes the tag that precedes a field's value."""
    return varint(field << 3 | wire_type)


def delimited(field: int, content: bytes) -> bytes:
    """Encodes a string, bytes or message field."""
    return tag(field, LENGTH_DELIMITED) + varint(len(content)) + content


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yields the length-delimited fields of a message: number, content, and the whole field with its tag.

    Raises:
        ValueError: the message is cut off, or contains another kind of field.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        if key & 0b111 != LENGTH_DELIMITED:
            raise ValueError(f"field {key >> 3} has wire type {key & 0b111}")
        length, position = _read_varint(message, position)
        end = position + length
        if end > len(message):
            raise ValueError(f"field {key >> 3} is cut off")
        yield key >> 3, message[position:end], message[start:end]
        position = end


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("a number is cut off")
        byte = message[position]
        position += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte < _MORE:
            return value, position
        shift += 7


def _encode_small(value: int) -> bytes:
    return bytes([value]) if value <= _SEVEN_BITS else bytes([value & _SEVEN_BITS | _MORE, value >> 7])


_MANY = 2_048
_SMALL = [_encode_small(value) for value in range(_MANY)]
_CONTINUED = [bytes([value | _MORE]) for value in range(_MORE)]
