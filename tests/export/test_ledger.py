"""The ledger: every span counted once, whatever happens in whatever order."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from telemetry.export.ledger import DropReason, Ledger


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.integers(0, 5)),
        st.tuples(st.just("deliver"), st.integers(1, 3)),
        st.tuples(st.just("drop"), st.sampled_from([DropReason.NOT_RETRYABLE, DropReason.UNENCODABLE])),
        st.tuples(st.just("close"), st.none()),
        st.tuples(st.just("begin"), st.none()),
        st.tuples(st.just("refuse"), st.none()),
    ),
    max_size=60,
)


@given(_actions)
def test_identity_holds_after_any_sequence(actions: list[tuple[str, object]]) -> None:
    """What came in is always what went out and what is still there."""
    ledger = Ledger(clock=Clock())
    held: list[int] = []
    generation = ledger.begin()
    for name, argument in actions:
        if name == "admit":
            if ledger.admit(generation, int(str(argument))):
                held.append(generation)
        elif name == "deliver":
            for generation in held[: int(str(argument))]:
                ledger.deliver(1, generation)
            del held[: int(str(argument))]
        elif name == "drop" and held:
            ledger.drop(1, DropReason(str(argument)), held.pop())
        elif name == "close":
            ledger.close(generation)
        elif name == "begin":
            generation = ledger.begin()
        elif name == "refuse":
            ledger.refuse()
        reading = ledger.read()
        assert reading.is_balanced
        assert reading.in_memory >= 0


def test_unbalanced_reading_is_seen() -> None:
    """The identity can fail: a span that is settled without having ended breaks it."""
    ledger = Ledger()
    ledger.deliver(1, ledger.begin())
    assert not ledger.read().is_balanced


def test_full_memory_drops_the_new_span_and_counts_it() -> None:
    """What is queued stays; what comes too late is dropped by name."""
    ledger = Ledger()
    generation = ledger.begin()
    assert [ledger.admit(generation, 2) for _ in range(3)] == [True, True, False]
    assert ledger.read().dropped == {DropReason.QUEUE_FULL: 1}


def test_late_answer_of_a_closed_generation_changes_nothing() -> None:
    """A span given up at shutdown is not counted again when the Collector answers after all."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.admit(generation, 10)
    ledger.close(generation)
    ledger.deliver(1, generation)
    reading = ledger.read()
    assert (reading.delivered, dict(reading.dropped), reading.is_balanced) == (
        0,
        {DropReason.SHUTDOWN: 1},
        True,
    )


def test_closed_ledger_counts_what_ends_as_dropped() -> None:
    """A span that ends after shutdown is not lost unseen."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.close(generation)
    assert not ledger.admit(generation, 10)
    assert ledger.read().dropped == {DropReason.SHUTDOWN: 1}


def test_generations_do_not_touch_one_another() -> None:
    """A run that ends late gives up its own spans only."""
    ledger = Ledger()
    old, new = ledger.begin(), ledger.begin()
    ledger.admit(old, 10)
    ledger.admit(new, 10)
    ledger.close(old)
    ledger.deliver(1, new)
    reading = ledger.read()
    assert (reading.delivered, dict(reading.dropped)) == (1, {DropReason.SHUTDOWN: 1})
    assert reading.is_balanced


def test_drops_of_the_last_minute_age_out() -> None:
    """Health forgets a drop after a minute."""
    clock = Clock()
    ledger = Ledger(clock=clock)
    ledger.refuse()
    clock.now += 59
    assert ledger.dropped_in_last_minute() == 1
    clock.now += 2
    assert ledger.dropped_in_last_minute() == 0


def test_waiting_ends_when_earlier_spans_are_settled_though_new_ones_come() -> None:
    """Under constant traffic a flush still ends."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.admit(generation, 10)
    done: list[bool] = []
    waiter = threading.Thread(target=lambda: done.append(ledger.wait_until_settled(10)))
    waiter.start()
    ledger.admit(generation, 10)
    ledger.deliver(1, generation)
    waiter.join(10)
    # Whichever came first, the wait or the second span, at most that one is waited for.
    ledger.deliver(1, generation)
    waiter.join(10)
    assert done == [True]


def test_waiting_for_a_span_that_is_dropped_says_so() -> None:
    """A flush whose spans were given up did not succeed."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.admit(generation, 10)
    done: list[bool] = []
    waiter = threading.Thread(target=lambda: done.append(ledger.wait_until_settled(10)))
    waiter.start()
    while not ledger._changed._waiters:
        waiter.join(0.001)
    ledger.drop(1, DropReason.NOT_RETRYABLE, generation)
    waiter.join(10)
    assert done == [False]


def test_waiting_has_an_end() -> None:
    """Nothing settled in time is False, not forever."""
    ledger = Ledger()
    ledger.admit(ledger.begin(), 10)
    assert ledger.wait_until_settled(0.01) is False


def test_sixteen_threads_lose_no_count() -> None:
    """Additions from many threads are exact."""
    ledger = Ledger()
    generation = ledger.begin()

    def work() -> None:
        for _ in range(500):
            if ledger.admit(generation, 1_000_000):
                ledger.deliver(1, generation)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = ledger.read()
    assert (reading.ended, reading.delivered, reading.in_memory) == (8_000, 8_000, 0)
