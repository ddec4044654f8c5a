"""A fork at a bad moment: what the parent was doing does not concern the child."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.forking import assert_child_succeeds
from support.pipeline_rig import ReceiverRig
from support.waiting import Until

MakeRig = Callable[..., ReceiverRig]


def sends(rig: ReceiverRig) -> bool:
    """Ends a span, and returns whether it is delivered."""
    rig.end_spans(1, "child")
    return rig.pipeline.force_flush(10_000) and rig.ledger.delivered == 1


@pytest.fixture
def rig(make_rig: MakeRig, receiver: Any) -> ReceiverRig:
    """A pipeline that sends when it is flushed."""
    return make_rig(schedule_delay_ms=60_000)


def test_lock_that_another_thread_held_is_free_in_the_child(rig: ReceiverRig) -> None:
    """That thread does not exist in the child, and would never release it."""
    is_held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with rig.pipeline._lock:
            is_held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(10)
    try:
        assert_child_succeeds(lambda: sends(rig))
    finally:
        release.set()
        holder.join()


def test_start_under_way_in_the_parent_does_not_keep_the_child_from_starting(rig: ReceiverRig) -> None:
    """Another thread of the parent was starting the worker."""
    rig.pipeline._is_starting = True
    try:
        assert_child_succeeds(lambda: sends(rig))
    finally:
        rig.pipeline._is_starting = False


def test_childs_status_is_its_own(rig: ReceiverRig, receiver: Any, until: Until) -> None:
    """Neither the parent's errors nor its successes are the child's."""
    rig.end_spans(1)
    assert rig.pipeline.force_flush(10_000)
    assert rig.pipeline.last_success_age_seconds is not None

    def work() -> bool:
        is_new = rig.pipeline.last_success_age_seconds is None
        return is_new and sends(rig) and rig.pipeline.last_success_age_seconds is not None

    assert_child_succeeds(work)
