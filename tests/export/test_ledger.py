"""The ledger counts every span once, in any order of events."""

import gc
import threading

from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock

from telemetry.export.ledger import ON_DISK, DropReason, Ledger

_actions = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.booleans()),
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
    """The spans that came in always equal those that went out plus those still held."""
    ledger = Ledger(clock=Clock())
    held: list[int] = []
    generation = ledger.begin()
    for name, argument in actions:
        if name == "admit":
            if ledger.admit(generation, is_full=bool(argument)):
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
    """The identity can fail: a span that is delivered without having ended breaks it."""
    ledger = Ledger()
    ledger.deliver(1, ledger.begin())
    assert not ledger.read().is_balanced


def test_full_memory_drops_the_new_span_and_counts_it() -> None:
    """Queued spans stay; a span that finds the queue full is dropped and counted with its reason."""
    ledger = Ledger()
    generation = ledger.begin()
    assert [ledger.admit(generation, is_full=full) for full in (False, False, True)] == [True, True, False]
    assert ledger.read().dropped == {DropReason.QUEUE_FULL: 1}


def test_late_answer_of_a_closed_generation_changes_nothing() -> None:
    """A span given up at shutdown is not counted again when the Collector answers after all."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.admit(generation, is_full=False)
    ledger.close(generation)
    ledger.deliver(1, generation)
    reading = ledger.read()
    assert (reading.delivered, dict(reading.dropped), reading.is_balanced) == (
        0,
        {DropReason.SHUTDOWN: 1},
        True,
    )


def test_closed_ledger_counts_what_ends_as_dropped() -> None:
    """A span that ends after shutdown is counted as dropped."""
    ledger = Ledger()
    generation = ledger.begin()
    ledger.close(generation)
    assert not ledger.admit(generation, is_full=False)
    assert ledger.read().dropped == {DropReason.SHUTDOWN: 1}


def test_generations_do_not_touch_one_another() -> None:
    """Closing an old run gives up only its own spans."""
    ledger = Ledger()
    old, new = ledger.begin(), ledger.begin()
    ledger.admit(old, is_full=False)
    ledger.admit(new, is_full=False)
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
    assert ledger.dropped_in_last_minute() == 1
    clock.now += 59
    assert ledger.dropped_in_last_minute() == 1
    clock.now += 2
    assert ledger.dropped_in_last_minute() == 0


def test_rejected_spans_have_a_term_of_their_own() -> None:
    """Spans that the Collector rejects from an accepted batch are counted separately."""
    ledger = Ledger()
    generation = ledger.begin()
    for _ in range(3):
        ledger.admit(generation, is_full=False)
    ledger.reject(1, generation)
    ledger.deliver(2, generation)
    ledger.close(generation)
    ledger.reject(1, generation)
    reading = ledger.read()
    assert (reading.rejected, reading.delivered, reading.in_memory) == (1, 2, 0)
    assert reading.is_balanced


def test_sixteen_threads_lose_no_count() -> None:
    """Additions from many threads are exact."""
    ledger = Ledger()
    generation = ledger.begin()

    def work() -> None:
        for _ in range(500):
            if ledger.admit(generation, is_full=False):
                ledger.deliver(1, generation)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = ledger.read()
    assert (reading.ended, reading.delivered, reading.in_memory) == (8_000, 8_000, 0)


def test_span_that_ends_while_the_ledger_is_held_waits_for_nobody() -> None:
    """A span that ends in the lock's own thread (finaliser, signal handler) is counted at the next read."""
    ledger = Ledger()
    generation = ledger.begin()
    with ledger._lock:
        assert ledger.admit(generation, is_full=False)
        assert not ledger.admit(generation, is_full=True)
        ledger.refuse()
    reading = ledger.read()
    assert reading.is_balanced
    assert (reading.ended, reading.in_memory) == (3, 1)
    assert reading.dropped == {DropReason.QUEUE_FULL: 1, DropReason.SHUTDOWN: 1}


def test_notes_are_bounded_though_nobody_looks() -> None:
    """The thread that adds one note too many counts them all."""
    ledger = Ledger()
    generation = ledger.begin()
    for _ in range(10_000):
        ledger.admit(generation, is_full=True)
        assert len(ledger._notes) <= 4_096
    assert ledger.read().dropped == {DropReason.QUEUE_FULL: 10_000}


def test_spans_that_end_in_finalisers_are_all_counted() -> None:
    """Finalisers may run at any point in a thread, also while it uses the ledger."""
    ledger = Ledger()
    generation = ledger.begin()
    made = 0

    class Litter:
        """Ends a span when it is collected."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            ledger.admit(generation, is_full=False)

    thresholds = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(3_000):
            Litter()
            made += 1
            assert ledger.read().is_balanced
            ledger.adopt(1)
            ledger.drop(1, DropReason.SPOOL_EXPIRED, ON_DISK)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert ledger.read().ended == made
