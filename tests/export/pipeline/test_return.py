"""The first seconds after a Collector has come back: who asks whether it has, and what is sent first."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.pipeline_rig import ReceiverRig
from support.waiting import Until

from telemetry.export.breaker import BreakerState
from telemetry.export.otlp.grpc import GrpcTransport


class Door:
    """A TCP port that notes who connects, and never says anything."""

    def __init__(self, port: int) -> None:
        self.lengths: list[int] = []
        """How many bytes each connection has sent before it ended."""
        self._socket = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.lengths.append(len(connection.recv(65_536)))

    def close(self) -> None:
        """Closes the port."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def open_door() -> Iterator[Callable[[int], Door]]:
    """Opens doors, and closes them."""
    doors: list[Door] = []

    def build(port: int) -> Door:
        doors.append(Door(port))
        return doors[-1]

    yield build
    for door in doors:
        door.close()


def test_open_breaker_asks_by_connecting_alone(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until, open_door: Callable[[int], Door]
) -> None:
    """The open time, a minute, is not waited for; and the first connection carries no request."""
    rig = make_rig(breaker_open_seconds=60, breaker_open_max_seconds=60)
    receiver.stop()
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.pipeline.breaker.state is BreakerState.OPEN)
    door = open_door(int(receiver.endpoint.rpartition(":")[2]))
    until("somebody to connect", lambda: bool(door.lengths))
    assert door.lengths[0] == 0
    door.close()


def test_return_after_many_checks_is_noticed_at_once(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Whatever the open time is; each check that failed has left the breaker open."""
    rig = make_rig(breaker_open_seconds=60, breaker_open_max_seconds=60)
    receiver.stop()
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.pipeline.breaker.state is BreakerState.OPEN)
    breaker = rig.pipeline.breaker
    until("a check to fail", lambda: breaker._reachability._is_lost)
    receiver.start()
    until("the breaker to close", lambda: breaker.state is BreakerState.CLOSED)
    until("5 spans delivered", lambda: rig.ledger.delivered == 5)
    assert breaker.snapshot().opened_total == 1


def test_fresh_spans_go_before_those_that_waited(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """What has waited in memory is spread, and delivered whole."""
    rig = make_rig(max_export_batch_size=10, max_in_flight=1)
    receiver.stop()
    rig.end_spans(200, "late")
    until("the breaker to open", lambda: rig.pipeline.breaker.state is BreakerState.OPEN)
    receiver.start()
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    rig.end_spans(10, "fresh")
    until("a fresh span", lambda: any(span.name == "fresh" for span in receiver.spans))
    arrived = [span.name for span in receiver.spans]
    assert arrived.index("fresh") < 150
    until("all delivered", lambda: rig.ledger.delivered == 210)
    assert rig.ledger.in_memory == 0


def test_flush_does_not_wait_for_the_pace(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """Who flushes, or ends, wants all of it now."""
    rig = make_rig(max_export_batch_size=10, buffer_max_bytes=2**22)
    receiver.stop()
    rig.end_spans(2_000, "late")
    until("the breaker to open", lambda: rig.pipeline.breaker.state is BreakerState.OPEN)
    receiver.start()
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    worker = rig.pipeline._run.worker
    worker._backlog.pace.next_at = float("inf")
    assert rig.pipeline.force_flush(20_000)
    assert rig.ledger.delivered == 2_000


def test_fresh_spans_find_room_while_late_ones_are_spread(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until
) -> None:
    """A buffer that is nearly full is emptied at once, whatever the pace would be."""
    rig = make_rig(max_export_batch_size=10, buffer_max_bytes=20_000)
    receiver.stop()
    until("the buffer to fill", lambda: rig.end_spans(10, "late") or rig.pipeline.buffered_bytes > 15_000)
    kept = rig.ledger.in_memory
    receiver.start()
    until("the breaker to close", lambda: rig.pipeline.breaker.state is BreakerState.CLOSED)
    rig.pipeline._run.worker._backlog.pace.next_at = float("inf")
    until("half of it to be sent", lambda: rig.pipeline.buffered_bytes <= 10_000)
    assert rig.ledger.delivered < kept
    rig.pipeline._run.worker._backlog.pace.next_at = 0.0


def test_checks_do_not_pile_up_where_connecting_hangs(
    make_rig: Callable[..., ReceiverRig], receiver: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time: the next one waits for the result of the one before."""
    release, begun = threading.Event(), []

    def hang(*_: object) -> None:
        begun.append(1)
        release.wait(20)

    monkeypatch.setattr(GrpcTransport, "connect_only", hang)
    rig = make_rig(breaker_open_seconds=60, breaker_open_max_seconds=60)
    receiver.stop()
    rig.end_spans(5)
    until("a check", lambda: begun)
    breaker = rig.pipeline.breaker
    until("another one to be due", lambda: breaker.snapshot().retry_in_seconds == 0)
    rig.end_spans(5)
    until("the worker to look", lambda: rig.ledger.in_memory == 10 and not rig.pipeline._run.worker._queue)
    assert len(begun) == 1
    release.set()
