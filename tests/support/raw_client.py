"""A client on raw connections: it keeps them, and may send requests before it has the answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    body: bytes


def request_of(path: str, **headers: str) -> bytes:
    """Returns a GET without a body."""
    lines = [
        f"GET {path} HTTP/1.1",
        "host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def ask(port: int, requests: Sequence[bytes], *, ahead: int) -> list[Answer]:
    """Sends requests over one connection.

    Args:
        port: on loopback.
        requests: in their order, which is that of the answers.
        ahead: how many are sent together, before their answers are read.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    try:
        for start in range(0, len(requests), ahead):
            part = requests[start : start + ahead]
            writer.write(b"".join(part))
            await writer.drain()
            answers += [await _read(reader) for _ in part]
    finally:
        writer.close()
        await writer.wait_closed()
    return answers


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    if "content-length" in headers:
        return Answer(status, await reader.readexactly(int(headers["content-length"])))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Answer(status, body)
