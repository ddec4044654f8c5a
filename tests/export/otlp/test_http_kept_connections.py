"""Connections kept between exports: what servers do to them while they are idle."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.http_transport import close, close_notify, reset, send, server_context
from support.raw_http_server import RawHttpServer, answer

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.result import Disposition

LATE = answer("408 Request Timeout", b"too slow", Connection="close")
Hang = Callable[[socket.socket], None]


def say(data: bytes) -> Hang:
    """Returns what sends data on a connection that is idle."""
    return lambda peer: peer.sendall(data)


def say_and_close(peer: socket.socket) -> None:
    """Takes leave as a load balancer does."""
    peer.sendall(LATE)
    close(peer)


@pytest.fixture(params=["plain", "tls"])
def any_server(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[RawHttpServer]:
    """A server, plain and over TLS."""
    running = RawHttpServer(server_context(certificate) if request.param == "tls" else None)
    yield running
    running.close()


def wait_for_word(transport: HttpTransport) -> None:
    """Waits until what the server did has reached the idle connection."""
    (kept,) = transport._idle
    assert select.select([kept], [], [], 10)[0], "nothing arrived"


@pytest.mark.parametrize("leave", [close, reset, say(LATE), say_and_close, say(b"x")])
def test_connection_that_ended_while_idle_is_replaced_in_silence(
    leave: Hang, any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """Ten exports are ten deliveries: nothing fails, and what stood there is not taken for an answer."""
    answered = threading.Semaphore(0)

    def answer_and_leave(peer: socket.socket) -> None:
        peer.sendall(answer())
        assert answered.acquire(timeout=10)
        leave(peer)

    any_server.script = answer_and_leave
    made = make_transport(any_server)
    for _ in range(10):
        assert send(made).disposition is Disposition.DELIVERED
        answered.release()
        wait_for_word(made)
    assert any_server.connections == len(any_server.requests) == 10


def test_tls_session_that_was_ended_is_replaced(
    tls_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """A server may say goodbye within TLS and leave the connection open."""

    def answer_and_leave(peer: socket.socket) -> None:
        peer.sendall(answer())
        close_notify(peer)

    tls_server.script = answer_and_leave
    made = make_transport(tls_server)
    for _ in range(3):
        assert send(made).disposition is Disposition.DELIVERED
        wait_for_word(made)
    assert tls_server.connections == 3


@pytest.mark.parametrize("extra", [200, 30_000])
def test_bytes_behind_an_answer_are_no_answer(
    extra: int, any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """They may come in one packet, and lie in a buffer of TLS where nobody sees them."""
    behind = answer("503 Not For You", bytes(extra))
    any_server.script = lambda peer: peer.sendall(answer() + behind)
    made = make_transport(any_server)
    for _ in range(3):
        assert send(made).disposition is Disposition.DELIVERED


def test_connection_is_kept_over_tls(
    tls_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """The session's tickets, which arrive unasked, do not end it."""
    made = make_transport(tls_server)
    for _ in range(5):
        assert send(made).disposition is Disposition.DELIVERED
    assert tls_server.connections == 1


def at_second_request(then: Hang) -> Hang:
    """Returns a script that answers a connection's first request, and does something at its second."""
    known: set[int] = set()

    def script(peer: socket.socket) -> None:
        if peer.fileno() in known:
            known.discard(peer.fileno())
            then(peer)
        else:
            known.add(peer.fileno())
            peer.sendall(answer())

    return script


@pytest.mark.parametrize("leave", [close, reset, say_and_close])
def test_connection_that_ends_as_the_request_arrives_is_tried_anew_once(
    leave: Hang, any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """No look beforehand can tell, so the request is repeated over a new connection, in the same attempt."""
    any_server.script = at_second_request(leave)
    made = make_transport(any_server)
    for _ in range(4):
        assert send(made).disposition is Disposition.DELIVERED
    assert any_server.connections == 4
    assert len(any_server.requests) == 7


@pytest.mark.parametrize(
    ("begun", "leave"),
    [(answer(body=b"cut off")[:-3], close), (b"HTTP/1.1 2", reset)],
    ids=["body", "status"],
)
def test_answer_that_breaks_off_is_not_asked_for_again(
    begun: bytes, leave: Hang, any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """A server that has begun to answer has read the request: the attempt fails, and backs off."""

    def begin_and_leave(peer: socket.socket) -> None:
        peer.sendall(begun)
        leave(peer)

    any_server.script = at_second_request(begin_and_leave)
    made = make_transport(any_server)
    assert send(made).disposition is Disposition.DELIVERED
    outcome = send(made)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "connection")
    assert len(any_server.requests) == 2


def test_second_failure_in_a_row_is_a_failure(
    any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """A new connection that fails as well is the server's own trouble."""
    made = make_transport(any_server)
    assert send(made).disposition is Disposition.DELIVERED
    any_server.script = close
    outcome = send(made)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "connection")
    assert any_server.connections == 2


def test_request_timeout_on_a_new_connection_is_the_answer(
    any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """Nobody was late, so it is no goodbye: as any other 4xx, it is not retried."""
    any_server.script = say_and_close
    outcome = send(make_transport(any_server))
    assert (outcome.disposition, outcome.kind) == (Disposition.PERMANENT, "http_408")
    assert len(any_server.requests) == 1


def test_silence_on_a_kept_connection_ends_with_the_deadline(
    any_server: RawHttpServer, make_transport: Callable[..., HttpTransport]
) -> None:
    """There is no time left for another connection."""
    release = threading.Event()
    any_server.script = at_second_request(lambda _: release.wait(20) and None)
    made = make_transport(any_server)
    assert send(made).disposition is Disposition.DELIVERED
    assert send(made, 0.2).kind == "timeout"
    release.set()
    assert len(any_server.requests) == 2
