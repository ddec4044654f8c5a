"""The event that wakes the worker."""

import threading
import time

from telemetry.export.reentrant_event import ReentrantEvent


def test_ring_ends_the_present_wait_and_the_next_one_once() -> None:
    """A set event ends one wait, however often it was set before."""
    wake = ReentrantEvent()
    started = time.monotonic()
    wake.set()
    wake.set()
    wake.wait(30)
    timer = threading.Timer(0.05, wake.set)
    wake.clear()
    timer.start()
    wake.wait(30)
    wake.clear()
    wake.wait(0.01)
    assert time.monotonic() - started < 10


def test_no_ring_is_lost_to_a_clear() -> None:
    """A `set()` after the last `clear()` is always seen, however the threads interleave."""
    wake, done = ReentrantEvent(), threading.Event()
    seen = noted = 0

    def ring() -> None:
        nonlocal noted
        for _ in range(20_000):
            noted += 1
            wake.set()
        done.set()

    thread = threading.Thread(target=ring)
    thread.start()
    deadline = time.monotonic() + 30
    while not (done.is_set() and seen == noted):
        assert time.monotonic() < deadline
        wake.clear()
        seen = noted
        if not done.is_set():
            wake.wait(5)
    thread.join()
    assert time.monotonic() < deadline - 20, "a ring was lost: somebody slept through it"


def test_times_that_are_none_are_none() -> None:
    """A negative timeout ends at once, and an infinite one raises nothing."""
    wake = ReentrantEvent()
    wake.wait(-1)
    wake.set()
    wake.wait(float("inf"))
