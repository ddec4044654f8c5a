"""Listeners receive each transition in order and outside the lock, whatever they do."""

import logging

import pytest
from support.breaker_rig import HALF_OPEN, OPEN, BreakerRig

from telemetry.export.breaker import (
    BreakerSettings,
    CircuitBreaker,
    Permit,
    Transition,
)


def test_listeners_hear_each_transition_in_order_and_outside_the_lock() -> None:
    """A listener may use the breaker."""
    rig = BreakerRig()
    heard: list[tuple[str, str, str]] = []

    def listen(event: Transition) -> None:
        rig.breaker.snapshot()
        heard.append((event.from_state, event.to_state, event.reason))

    rig.breaker.add_listener(listen)
    rig.trip()
    rig.wait_out()
    rig.succeed()
    rig.breaker.remove_listener(listen)
    rig.trip()
    assert heard == [
        ("closed", "open", "3 consecutive failures"),
        ("open", "half_open", "the open time has elapsed"),
        ("half_open", "closed", "enough probes succeeded"),
    ]


def test_listener_hears_of_the_half_open_state_before_the_probe_is_sent() -> None:
    """The `acquire()` call that changes the state notifies the listeners itself."""
    rig = BreakerRig()
    rig.trip()
    rig.wait_out()
    heard: list[Transition] = []
    rig.breaker.add_listener(heard.append)
    rig.permit()
    assert [event.to_state for event in heard] == [HALF_OPEN]


def test_nothing_of_the_users_runs_under_the_lock() -> None:
    """The clock, the random source and the listeners never run while the lock is held."""
    seen: set[str] = set()

    def note(what: str) -> float:
        assert not breaker._lock.locked(), what
        seen.add(what)
        return 0.0

    breaker = CircuitBreaker(
        BreakerSettings(failure_threshold=1), clock=lambda: note("clock"), random=lambda: note("random")
    )

    def listen(_: Transition) -> None:
        note("listener")

    breaker.add_listener(listen)
    answer = breaker.acquire()
    assert isinstance(answer, Permit)
    answer.failure()
    breaker.acquire()
    breaker.force_open()
    breaker.disable()
    breaker.reset()
    breaker.snapshot()
    assert seen == {"clock", "random", "listener"}


def test_listener_that_raises_is_logged_and_the_next_one_still_hears(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A raising listener does not keep the others from being notified."""
    rig = BreakerRig()
    heard: list[Transition] = []

    def broken(_: Transition) -> None:
        raise RuntimeError("on purpose")

    rig.breaker.add_listener(broken)
    rig.breaker.add_listener(heard.append)
    with caplog.at_level(logging.ERROR):
        rig.trip()
    assert len(heard) == 1
    assert "on purpose" in caplog.text


def test_listener_that_changes_the_state_is_notified_afterwards() -> None:
    """A transition that a listener causes is notified after the one that the listener is handling."""
    rig = BreakerRig()
    heard: list[str] = []

    def stop(event: Transition) -> None:
        if event.to_state is OPEN:
            rig.breaker.force_open()
        heard.append(event.to_state)

    rig.breaker.add_listener(stop)
    rig.fail(3)
    assert heard == ["open", "forced_open"]


@pytest.mark.parametrize("error", [RuntimeError("on purpose"), SystemExit(3)])
def test_what_a_listener_raises_reaches_nobody(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A permit never raises, and the listeners after it are called."""
    rig = BreakerRig(failure_threshold=1)
    heard: list[Transition] = []

    def fail(_: Transition) -> None:
        raise error

    rig.breaker.add_listener(fail)
    rig.breaker.add_listener(heard.append)
    with caplog.at_level(logging.ERROR):
        rig.permit().failure()
    assert [event.to_state for event in heard] == [OPEN]
    assert "listener raised" in caplog.text
