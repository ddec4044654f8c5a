"""Reads answers of HTTP/1.1, whatever form they have, without trusting their length or their promises."""

import http.client
import socket
import ssl
import zlib
from typing import cast

from .connections import Reader
from .response import LONGEST_RESPONSE_BYTES

_OK, _SWITCHING_PROTOCOLS, _INFORMATION = http.client.OK, http.client.SWITCHING_PROTOCOLS, range(100, 200)


class HttpResponse(http.client.HTTPResponse):
    """An answer on a connection; the interim ones before it, such as 103, are passed over.

    `http.client` passes over 100 alone and takes any other for the answer, though the specification allows
    servers and proxies to send several, unasked (RFC 9110, 15.2).
    """

    def __init__(self, reader: Reader, method: str) -> None:
        super().__init__(cast("socket.socket", reader), method=method)
        self._reader = reader
        self.is_cut = False
        """Whether the connection ended within the head, which `http.client` takes for the head's end."""

    def begin(self) -> None:
        """Reads the head."""
        super().begin()
        self.is_cut = self._reader.has_ended

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            read = cast("tuple[str, int, str]", super()._read_status())  # type: ignore[misc]
            if read[1] not in _INFORMATION or read[1] == _SWITCHING_PROTOCOLS:
                return read
            http.client.parse_headers(self.fp)


def read_body(response: HttpResponse) -> tuple[bytes | None, bool]:
    """Returns an answer's body, decompressed, or None if it is too long; and whether its end was reached.

    Of an error, the status is the answer: that the rest breaks off takes nothing from it.

    Raises:
        http.client.IncompleteRead: a success breaks off, and with it what was rejected.
        TimeoutError: the deadline has passed.
    """
    is_success = _OK <= response.status < http.client.MULTIPLE_CHOICES
    try:
        body = response.read(LONGEST_RESPONSE_BYTES + 1)
        is_cut = response.is_cut or (bool(response.length) and len(body) <= LONGEST_RESPONSE_BYTES)
    except http.client.IncompleteRead as error:
        body, is_cut = error.partial, True
    except (ConnectionError, ssl.SSLError):
        if is_success:
            raise
        body, is_cut = b"", True
    if is_cut and is_success:
        raise http.client.IncompleteRead(body)
    if response.headers.get("Content-Encoding", "").lower() == "gzip":
        # Not requested, but some servers do it; a few KB can unpack to gigabytes.
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, LONGEST_RESPONSE_BYTES + 1)
        except zlib.error:
            body = b""
    return (body, not is_cut) if len(body) <= LONGEST_RESPONSE_BYTES else (None, False)
