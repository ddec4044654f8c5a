"""Load on a server: `python -m benchmarks.request_load '{"port": 8000, …}'`; the result is printed as JSON.

It writes HTTP/1.1 to sockets itself and only counts the bytes of answers, so that it costs far less than what
it measures. Every connection has one request under way.
"""

import json
import select
import socket
import sys
import time
from contextlib import ExitStack
from typing import Any, Self

_CONNECTIONS = 8
_TIMEOUT_SECONDS = 30
_OK = b"HTTP/1.1 200 "


class Connection:
    """A connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port
        self._size = 0
        """Of an answer, in bytes; all have the same."""
        self._missing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, number: int) -> None:
        """Sends one request."""
        self.socket.sendall(
            b"GET /items/%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: benchmark/1\r\nAccept: */*\r\n\r\n"
            % (100_000 + number % 900_000, self._port)
        )
        self._missing = self._size

    def read(self) -> bool:
        """Reads what has come; returns whether the answer is whole.

        Raises:
            ConnectionError: the server failed, or closed the connection.
        """
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        if self._missing == self._size and not data.startswith(_OK):
            raise ConnectionError(f"the server answered {data[:100]!r}")
        self._missing -= len(data)
        if self._missing < 0:
            raise ConnectionError("an answer is longer than the one before")
        return self._missing == 0

    def learn(self) -> None:
        """Asks once, to learn how long an answer is."""
        self.ask(0)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2])
        while len(body) < length:
            body += self.socket.recv(65_536)
        self._size = len(head) + 4 + length


def load(
    port: int, requests: int | None = None, per_second: float | None = None, seconds: float | None = None
) -> dict[str, float]:
    """Loads a server; returns the `requests` (all answered), the rate, and this process's share of a core.

    Args:
        port: the server's, on loopback.
        requests: the number of requests, at a steady rate.
        per_second: that rate.
        seconds: instead of both: for so long, as fast as the server answers.

    Raises:
        ConnectionError: a request was not answered with 200.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(_CONNECTIONS)]
        for connection in connections:
            connection.learn()
        started, used = time.perf_counter(), time.process_time()
        if seconds is None:
            answered = _pace(connections, requests or 0, per_second or 0.0, started)
            in_time = answered
        else:
            answered, in_time = _press(connections, started + seconds)
        took = time.perf_counter() - started if seconds is None else seconds
        used = time.process_time() - used
    return {
        "requests": answered + _CONNECTIONS,
        "seconds": took,
        "per_second": in_time / took,
        "load_busy": used / took,
    }


def _pace(connections: list[Connection], requests: int, per_second: float, started: float) -> int:
    asked = 0
    while asked < requests:
        time.sleep(max(0.0, started + asked / per_second - time.perf_counter()))
        for connection in connections:
            connection.ask(asked)
            asked += 1
        for connection in connections:
            while not connection.read():
                pass
    return asked


def _press(connections: list[Connection], end: float) -> tuple[int, int]:
    """Returns the answers, and those of them that came in time."""
    poll = select.epoll()
    by_number: dict[int, Connection] = {}
    for connection in connections:
        connection.socket.setblocking(False)
        by_number[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    asked = answered = in_time = 0
    for connection in connections:
        connection.ask(asked)
        asked += 1
    while answered < asked:
        events = poll.poll(_TIMEOUT_SECONDS)
        if not events:
            raise ConnectionError("the server does not answer")
        is_in_time = time.perf_counter() < end
        for number, _ in events:
            connection = by_number[number]
            if connection.read():
                answered += 1
                in_time += is_in_time
                if is_in_time:
                    connection.ask(asked)
                    asked += 1
    poll.close()
    return answered, in_time


def main() -> None:
    """Prints what `load` returns."""
    what: dict[str, Any] = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(load(**what)) + "\n")


if __name__ == "__main__":
    main()
