"""The breaker in a forked child."""

from support.breaker_rig import CLOSED, BreakerRig


def test_forked_child_begins_closed_with_a_lock_of_its_own() -> None:
    """A lock held while the process forked does not hang the child."""
    rig = BreakerRig()
    rig.trip()
    rig.breaker._lock.acquire()
    rig.breaker.reset_after_fork()
    rig.succeed()
    snapshot = rig.breaker.snapshot()
    assert (snapshot.state, snapshot.opened_total, dict(snapshot.transitions)) == (CLOSED, 0, {})


def test_permit_given_before_the_fork_is_stale_in_the_child() -> None:
    """The result of the parent's call does not count in the child."""
    rig = BreakerRig(failure_threshold=1)
    inherited = rig.permit()
    rig.breaker.reset_after_fork()
    inherited.failure()
    assert rig.breaker.state is CLOSED
    assert rig.breaker.snapshot().stale_results_total == 1
