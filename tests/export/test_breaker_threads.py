"""The breaker under many threads: never more probes than allowed, no count lost, events in order."""

import threading
from collections.abc import Callable
from itertools import pairwise

from telemetry.export.breaker import BreakerSettings, BreakerState, CircuitBreaker, Permit, Transition

THREADS = 16


def run_together(work: Callable[[int], None]) -> None:
    """Runs `work` in all threads at the same moment and waits for them."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"


def half_open(probes: int) -> CircuitBreaker:
    """A breaker whose open time is over."""
    now = [0.0]
    breaker = CircuitBreaker(BreakerSettings(probes=probes), clock=lambda: now[0])
    for _ in range(3):
        permit = breaker.acquire()
        assert isinstance(permit, Permit)
        permit.failure()
    now[0] += 1_000
    return breaker


def test_storm_on_a_half_open_breaker_gets_as_many_permits_as_there_are_probes() -> None:
    """Sixteen threads that ask at once do not knock a recovering server over."""
    for probes in (1, 2, 3):
        breaker = half_open(probes)
        permits: list[Permit] = []

        def ask(_: int, breaker: CircuitBreaker = breaker, permits: list[Permit] = permits) -> None:
            answer = breaker.acquire()
            if isinstance(answer, Permit):
                permits.append(answer)

        run_together(ask)
        assert len(permits) == probes
        run_together(lambda number, permits=permits: permits[number % len(permits)].success())
        assert breaker.state is BreakerState.CLOSED


def test_permit_settled_by_sixteen_threads_counts_once() -> None:
    """Whoever comes first has settled it."""
    breaker = CircuitBreaker(BreakerSettings(failure_threshold=1_000, minimum_calls=1_000))
    for _ in range(20):
        permit = breaker.acquire()
        assert isinstance(permit, Permit)
        run_together(lambda _, permit=permit: permit.failure())
    assert breaker.snapshot().consecutive_failures == 20


def test_transitions_are_heard_once_each_in_the_order_in_which_they_happened() -> None:
    """Each event continues where the one before it ended, whichever thread caused it."""
    breaker = CircuitBreaker(
        BreakerSettings(failure_threshold=1, open_seconds=1e-9, open_max_seconds=1e-9), random=lambda: 0.0
    )
    heard: list[Transition] = []
    breaker.add_listener(heard.append)

    def work(number: int) -> None:
        for turn in range(200):
            answer = breaker.acquire()
            if isinstance(answer, Permit):
                answer.success() if (turn + number) % 3 else answer.failure()

    run_together(work)
    breaker.add_listener(lambda _: None)
    snapshot = breaker.snapshot()
    assert sum(snapshot.transitions.values()) == len(heard)
    assert heard[0].from_state is BreakerState.CLOSED
    assert all(before.to_state is after.from_state for before, after in pairwise(heard))
    assert heard[-1].to_state is snapshot.state


def test_abandoned_permits_do_not_accumulate() -> None:
    """Permits that are given and dropped leave nothing behind in a closed breaker."""
    breaker = CircuitBreaker()
    run_together(lambda _: [breaker.acquire() for _ in range(500)] and None)
    assert not breaker._leases
