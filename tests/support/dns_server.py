"""A DNS server whose only name leads to addresses of loopback that a test chooses."""

import socket
import struct
import threading
from contextlib import suppress

_HEADER = struct.Struct(">6H")
_QUESTION_TAIL = struct.Struct(">2H")
_ANSWER = struct.Struct(">3HIH4s")
_TYPE_A, _CLASS_IN = 1, 1
_RESPONSE = 0x8180
"""A response to a recursive query, without an error."""
_NAME_OF_THE_QUESTION = 0xC00C
"""A pointer to the name after the header (RFC 1035, 4.1.4)."""


class DnsServer:
    """Answers every question for IPv4 addresses, whatever the name; for other types, that there are none.

    Args:
        addresses: what it answers; may be replaced at any time.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = addresses
        self.asked = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Answers no more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, client = self._socket.recvfrom(512)
                if not query:
                    return
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        number = _HEADER.unpack_from(query)[0]
        name_end = query.index(b"\0", _HEADER.size) + 1
        kind, _ = _QUESTION_TAIL.unpack_from(query, name_end)
        addresses = self.addresses if kind == _TYPE_A else ()
        self.asked += kind == _TYPE_A
        question = query[_HEADER.size : name_end + _QUESTION_TAIL.size]
        answers = b"".join(
            _ANSWER.pack(_NAME_OF_THE_QUESTION, _TYPE_A, _CLASS_IN, 0, 4, socket.inet_aton(each))
            for each in addresses
        )
        return _HEADER.pack(number, _RESPONSE, 1, len(addresses), 0, 0) + question + answers
