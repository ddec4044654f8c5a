"""The breaker under many threads: no surplus probes, no lost counts, events in order."""

import asyncio
import itertools
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from telemetry.export.breaker import (
    BreakerSettings,
    BreakerState,
    CircuitBreaker,
    Permit,
    Rejected,
    Transition,
)

THREADS = 16


@pytest.fixture(autouse=True)
def _threads_switch_often() -> Iterator[None]:
    # At the usual 5 ms no thread is ever interrupted inside the breaker, so that all of these tests
    # would pass even without its lock.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def run_together(work: Callable[[int], object]) -> None:
    """Runs `work` in all threads at the same moment and waits for them."""
    barrier = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def begin(number: int) -> None:
        barrier.wait(30)
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def permit_of(breaker: CircuitBreaker) -> Permit:
    """Returns a permit, or fails if there is none."""
    answer = breaker.acquire()
    assert isinstance(answer, Permit), answer
    return answer


def due_for_a_probe(probes: int) -> CircuitBreaker:
    """Returns an open breaker whose open time is over."""
    now = [0.0]
    breaker = CircuitBreaker(BreakerSettings(probes=probes), clock=lambda: now[0])
    for _ in range(3):
        permit_of(breaker).failure()
    now[0] += 1_000
    return breaker


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_storm_on_a_half_open_breaker_gets_as_many_permits_as_there_are_probes(probes: int) -> None:
    """Sixteen threads that ask at once do not overload a recovering server."""
    for _ in range(20):
        breaker = due_for_a_probe(probes)
        permits: list[Permit] = []

        def ask(_: int, breaker: CircuitBreaker = breaker, permits: list[Permit] = permits) -> None:
            for _ in range(5):
                answer = breaker.acquire()
                if isinstance(answer, Permit):
                    permits.append(answer)

        run_together(ask)
        assert len(permits) == probes
        for permit in permits:
            permit.success()
        assert breaker.state is BreakerState.CLOSED


def test_permit_released_by_sixteen_threads_counts_once() -> None:
    """Only the first reported result counts."""
    breaker = CircuitBreaker(BreakerSettings(failure_threshold=100_000, minimum_calls=100_000))
    permits = [permit_of(breaker) for _ in range(2_000)]

    def release(_: int) -> None:
        for permit in permits:
            permit.failure()

    run_together(release)
    assert breaker.snapshot().consecutive_failures == len(permits)


def test_no_failure_is_lost_between_threads() -> None:
    """Every failure is counted."""
    breaker = CircuitBreaker(BreakerSettings(failure_threshold=100_000, minimum_calls=100_000))

    def fail(_: int) -> None:
        for _ in range(200):
            permit_of(breaker).failure()

    run_together(fail)
    assert breaker.snapshot().consecutive_failures == THREADS * 200


def test_calls_that_fail_together_open_it_once() -> None:
    """The first of sixteen failures opens the breaker; the others are stale and change nothing."""
    for _ in range(300):
        breaker = CircuitBreaker(BreakerSettings(failure_threshold=1))
        permits = [permit_of(breaker) for _ in range(THREADS)]

        def fail(number: int, permits: list[Permit] = permits) -> None:
            permits[number].failure()

        run_together(fail)
        snapshot = breaker.snapshot()
        assert (snapshot.opened_total, snapshot.stale_results_total) == (1, THREADS - 1)


def test_event_during_a_notification_waits_for_it() -> None:
    """The causing thread continues at once; the thread that is already notifying delivers the event."""
    breaker = CircuitBreaker()
    is_notifying, may_go_on = threading.Event(), threading.Event()
    heard: list[tuple[BreakerState, int]] = []

    def listen(event: Transition) -> None:
        is_notifying.set()
        assert may_go_on.wait(10), "the second transition never came"
        heard.append((event.to_state, threading.get_ident()))

    breaker.add_listener(listen)
    notifier = threading.Thread(target=breaker.force_open)
    notifier.start()
    assert is_notifying.wait(10), "the first transition was not told"
    breaker.reset()
    assert heard == []
    may_go_on.set()
    notifier.join(10)
    assert heard == [(BreakerState.FORCED_OPEN, notifier.ident), (BreakerState.CLOSED, notifier.ident)]


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
    snapshot = breaker.snapshot()
    assert Counter((event.from_state, event.to_state) for event in heard) == snapshot.transitions
    assert heard[0].from_state is BreakerState.CLOSED
    assert all(before.to_state is after.from_state for before, after in pairwise(heard))
    assert heard[-1].to_state is snapshot.state


def test_cancelled_lost_and_failed_probes_never_exceed_the_slots_nor_block_the_breaker() -> None:
    """However a probe ends, its slot is held once and is eventually freed."""
    settings = BreakerSettings(failure_threshold=1, probes=2, lease_seconds=50, open_max_seconds=20)
    # Each reading of the clock is a second later, so leases and open times end while the threads run.
    breaker = CircuitBreaker(settings, clock=itertools.count().__next__)
    permit_of(breaker).failure()
    guard = threading.Lock()
    in_flight: Counter[int] = Counter()
    most: Counter[int] = Counter()
    results: Counter[str] = Counter()

    def probe(number: int) -> None:
        dice = random.Random(number)
        for _ in range(200):
            answer = breaker.acquire()
            if isinstance(answer, Rejected):
                continue
            result = dice.choice(["cancelled", "cancelled", "cancelled", "failed", "lost"])
            with guard:
                results[result] += 1
                in_flight[answer.generation] += 1
                most[answer.generation] = max(most[answer.generation], in_flight[answer.generation])
            if result != "lost":
                with guard:
                    in_flight[answer.generation] -= 1
            if result == "cancelled":
                answer.ignore()
            elif result == "failed":
                answer.failure()

    run_together(probe)
    assert set(results) == {"cancelled", "failed", "lost"}
    assert max(most.values()) <= settings.probes
    for _ in range(1_000):
        answer = breaker.acquire()
        if isinstance(answer, Permit):
            answer.success()
        if breaker.state is BreakerState.CLOSED:
            break
    assert breaker.state is BreakerState.CLOSED


def test_probe_of_a_cancelled_task_is_neither_success_nor_failure() -> None:
    """A cancelled coroutine returns its slot when it exits."""
    breaker = due_for_a_probe(1)

    async def send_for_ever() -> None:
        with permit_of(breaker):
            await asyncio.Event().wait()

    async def cancel_while_sending() -> None:
        task = asyncio.create_task(send_for_ever())
        await asyncio.sleep(0)
        assert isinstance(breaker.acquire(), Rejected)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_while_sending())
    assert breaker.snapshot().state is BreakerState.HALF_OPEN
    permit_of(breaker).success()
    assert breaker.snapshot().state is BreakerState.CLOSED


def test_abandoned_permits_do_not_accumulate() -> None:
    """Permits that are acquired and discarded leave nothing behind in a closed breaker."""
    breaker = CircuitBreaker()
    run_together(lambda _: [breaker.acquire() for _ in range(500)])
    assert not breaker._leases
