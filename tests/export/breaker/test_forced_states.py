"""States that an operator sets: forced open, disabled, reset."""

from support.breaker_rig import CLOSED, BreakerRig

from telemetry.export.breaker import (
    BreakerState,
    Rejected,
)


def test_forced_open_rejects_until_reset() -> None:
    """No amount of time closes a breaker that was forced open; only a reset does."""
    rig = BreakerRig()
    rig.breaker.force_open()
    rig.clock.now += 10_000
    assert rig.rejection() == Rejected(BreakerState.FORCED_OPEN, None)
    rig.breaker.reset()
    rig.succeed()


def test_disabled_permits_everything_and_learns_nothing() -> None:
    """Failures do not open a disabled breaker."""
    rig = BreakerRig()
    rig.breaker.disable()
    rig.fail(50)
    assert rig.breaker.state is BreakerState.DISABLED
    assert rig.breaker.snapshot().failure_rate == 0


def test_reset_forgets_failures_and_the_length_of_the_open_time() -> None:
    """A reset breaker behaves like a new one but keeps its totals."""
    rig = BreakerRig(open_seconds=2)
    rig.trip()
    rig.breaker.reset()
    rig.fail(2)
    rig.breaker.reset()
    rig.fail(2)
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.snapshot().retry_in_seconds == 2
    assert rig.breaker.snapshot().opened_total == 2
