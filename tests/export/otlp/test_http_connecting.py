"""Connecting: several addresses, names that move, IPv6, and TCP alone."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.http_transport import close, send
from support.raw_http_server import RawHttpServer, answer
from support.wire import BlackHole

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.proxy import Proxy
from telemetry.export.otlp.result import Disposition
from telemetry.export.otlp.tls import TlsFiles

Resolve = Callable[..., None]
_INET = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
UNKNOWN_FAMILY = 9999


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Any, ...]]]:
    """What the resolver answers for `collectors.test`, a list for each question; the last one stays."""
    answers: list[list[tuple[Any, ...]]] = []
    resolve = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "collectors.test":
            return resolve(host, port, *arguments, **options)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def at(host: str, port: int) -> tuple[Any, ...]:
    """Returns an address as the resolver does."""
    return (*_INET, (host, port))


def transport(port: int = 4318, **options: Any) -> HttpTransport:
    """Returns a transport to the name."""
    return HttpTransport(f"http://collectors.test:{port}/", headers={}, **options)


def test_name_is_resolved_anew_for_each_connection(
    server: RawHttpServer, addresses: list[list[tuple[Any, ...]]]
) -> None:
    """A Collector that moved is found without a restart, and in the same attempt that misses it."""
    moved = RawHttpServer(host="127.0.0.2", port=server.port)
    addresses += [[at("127.0.0.1", server.port)], [at("127.0.0.2", server.port)]]
    server.script = lambda peer: (peer.sendall(answer()), close(peer))[1]
    made = transport()
    for _ in range(3):
        assert send(made).disposition is Disposition.DELIVERED
    # The old one may still see the second request, just before it hangs up.
    assert (server.connections, moved.connections, len(moved.requests)) == (1, 1, 2)
    made.close()
    moved.close()


def test_address_that_refuses_is_passed_over(
    server: RawHttpServer, addresses: list[list[tuple[Any, ...]]]
) -> None:
    """So is one of a kind that this machine lacks, as IPv6 often is."""
    addresses.append(
        [
            (UNKNOWN_FAMILY, socket.SOCK_STREAM, 6, "", ("x", 1)),
            at("127.0.0.3", server.port),
            at("127.0.0.1", server.port),
        ]
    )
    made = transport()
    assert send(made).disposition is Disposition.DELIVERED
    made.close()


def test_black_hole_leaves_time_for_the_next_address(
    free_port: int, addresses: list[list[tuple[Any, ...]]]
) -> None:
    """Though the deadline is shorter than the time that a connection may take."""
    hole = BlackHole(free_port)
    server = RawHttpServer(host="127.0.0.2", port=free_port)
    addresses.append([at("127.0.0.1", free_port), at("127.0.0.2", free_port)])
    made = transport()
    assert send(made, 1.5).disposition is Disposition.DELIVERED
    made.close()
    server.close()
    hole.close()


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "a..example", "nul\0.example"])
def test_name_that_is_none_is_told_as_such(name: str) -> None:
    """The resolver refuses it with an error of another kind."""
    outcome = send(HttpTransport(f"http://{name}:4318/", headers={}))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "dns")


def test_server_on_ipv6() -> None:
    """The address is in brackets for the server too."""
    try:
        server = RawHttpServer(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    made = HttpTransport(f"http://[::1]:{server.port}/v1/traces", headers={})
    assert send(made).disposition is Disposition.DELIVERED
    assert server.requests[0][0]["host"] == f"[::1]:{server.port}"
    assert made.connect_only(5) is None
    made.close()
    server.close()


def test_connecting_alone_sends_nothing(server: RawHttpServer, tls_server: RawHttpServer) -> None:
    """A connection is made and closed: not even TLS is begun, so a stranger's certificate does not matter."""
    assert HttpTransport(f"http://127.0.0.1:{server.port}/", headers={}).connect_only(5) is None
    made = HttpTransport(f"https://127.0.0.1:{tls_server.port}/", tls=TlsFiles(), headers={})
    assert made.connect_only(5) is None
    assert server.requests == tls_server.requests == []


def test_connecting_alone_tells_why_not(free_port: int, addresses: list[list[tuple[Any, ...]]]) -> None:
    """The result is the one that an export would have."""
    addresses.append([at("127.0.0.1", free_port)])
    made = transport()
    refused = made.connect_only(5)
    assert refused == send(made)
    assert (refused.disposition, refused.kind) == (Disposition.RETRYABLE, "connection")
    unknown = HttpTransport("http://no-such-host.invalid:4318/", headers={}).connect_only(5)
    assert unknown is not None
    assert unknown.kind == "dns"
    proxied = transport(proxy=Proxy("127.0.0.1", free_port)).connect_only(5)
    assert proxied is not None
    assert proxied.kind == "proxy"
    made.close()
    closed = made.connect_only(5)
    assert closed is not None
    assert closed.kind == "closed"


def test_connecting_alone_keeps_its_deadline(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a black hole nor a resolver that hangs makes it longer."""
    hole = BlackHole(free_port)
    outcome = HttpTransport(f"http://127.0.0.1:{free_port}/", headers={}).connect_only(0.2)
    assert outcome is not None
    assert outcome.kind in {"timeout", "connection"}
    hole.close()
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) or [])
    outcome = transport().connect_only(0.2)
    release.set()
    assert outcome is not None
    assert outcome.kind == "timeout"


def test_connecting_alone_reaches_the_proxy(server: RawHttpServer) -> None:
    """The server's name need not be known here."""
    made = HttpTransport(
        "https://collector.invalid/", tls=TlsFiles(), proxy=Proxy("127.0.0.1", server.port), headers={}
    )
    assert made.connect_only(5) is None
    assert server.requests == []


def test_close_ends_an_export_that_is_still_connecting(certificate: Any) -> None:
    """A handshake that hangs does not hold up the end of the process."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
    for proxy in (None, Proxy(*listener.getsockname())):
        made = HttpTransport(url, tls=TlsFiles(), proxy=proxy, headers={})
        outcomes: list[str] = []
        thread = threading.Thread(target=lambda made=made, to=outcomes: to.append(send(made, 60).kind))
        thread.start()
        peer, _ = listener.accept()
        assert peer.recv(1)
        made.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(outcomes) == 1
        peer.close()
    listener.close()
