"""The relay that counts bytes on the wire, on real sockets."""

import socket
import threading

import pytest
from support.free_ports import free_port
from support.waiting import wait_until

from loadtest.tune.relay import Relay

HOST = "127.0.0.1"


class Echo:
    """A server that sends back what it gets, a letter before it."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while part := connection.recv(1_000_000):
                    connection.sendall(b"." + part)

    def close(self) -> None:
        """Stops listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_what_clients_send_is_passed_on_and_counted() -> None:
    """Responses are not counted, and connections come one after the other, as from a restarted service."""
    echo = Echo()
    with Relay((HOST, 0), (HOST, echo.port)) as relay:
        for number in range(1, 4):
            with socket.create_connection((HOST, relay.port), timeout=10) as client:
                client.sendall(b"x" * 1000)
                received = b""
                while received.count(b"x") < 1000:
                    received += client.recv(10_000)
            assert relay.sent_bytes == 1000 * number
    echo.close()


def test_end_of_either_side_ends_the_other() -> None:
    """A service sees at once that the Collector is gone, as without a relay."""
    server = socket.create_server((HOST, 0))
    with server, Relay((HOST, 0), (HOST, server.getsockname()[1])) as relay:
        client = socket.create_connection((HOST, relay.port), timeout=10)
        passed, _ = server.accept()
        passed.close()
        assert client.recv(1) == b""
        client.close()
        client = socket.create_connection((HOST, relay.port), timeout=10)
        passed, _ = server.accept()
        passed.settimeout(10)
        client.close()
        assert passed.recv(1) == b""
        passed.close()
        wait_until("both connections to be forgotten", lambda: not relay._sockets)


def test_absent_server_ends_the_connection() -> None:
    """The relay goes on listening."""
    with Relay((HOST, 0), (HOST, free_port())) as relay:
        for _ in range(2):
            with socket.create_connection((HOST, relay.port), timeout=10) as client:
                assert client.recv(1) == b""
        assert relay.sent_bytes == 0


def test_closed_relay_listens_no_more_and_ends_what_is_open() -> None:
    """The service has its usual way again."""
    echo = Echo()
    with Relay((HOST, 0), (HOST, echo.port)) as relay:
        port = relay.port
        client = socket.create_connection((HOST, port), timeout=10)
        client.sendall(b"x")
        assert client.recv(10) == b".x"
    with client:
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=10)
    echo.close()
