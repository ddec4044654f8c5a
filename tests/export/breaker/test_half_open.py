"""Probes and their leases; permits that are released late, twice, or never."""

import pytest
from support.breaker_rig import CLOSED, HALF_OPEN, OPEN, BreakerRig

from telemetry.export.breaker import (
    Permit,
    Rejected,
)


def test_state_stays_open_after_its_time_until_somebody_asks() -> None:
    """Reading the state changes nothing; acquiring a permit does."""
    rig = BreakerRig()
    rig.trip()
    rig.wait_out()
    assert rig.breaker.state is OPEN
    assert rig.breaker.snapshot().retry_in_seconds == 0
    rig.permit()
    assert rig.breaker.state is HALF_OPEN


def test_probe_that_succeeds_closes_and_one_that_fails_opens_again() -> None:
    """The probe's result decides the next state."""
    rig = BreakerRig()
    rig.trip()
    rig.wait_out()
    rig.fail()
    assert rig.breaker.state is OPEN
    rig.wait_out()
    rig.succeed()
    assert rig.breaker.state is CLOSED
    assert rig.breaker.snapshot().opened_total == 2


def test_half_open_gives_so_many_probes_and_closes_when_all_succeed() -> None:
    """With two probes there is no third permit, and the first success alone does not close the breaker."""
    rig = BreakerRig(probes=2, lease_seconds=30)
    rig.trip()
    rig.wait_out()
    first, second = rig.permit(), rig.permit()
    assert rig.rejection() == Rejected(HALF_OPEN, 30.0)
    first.success()
    assert isinstance(rig.breaker.acquire(), Rejected)
    second.success()
    assert rig.breaker.state is CLOSED


def test_half_open_with_all_slots_taken_points_to_the_lease_that_ends_first() -> None:
    """A rejected caller may come back when the oldest probe counts as lost."""
    rig = BreakerRig(probes=2, lease_seconds=30)
    rig.trip()
    rig.wait_out()
    rig.permit()
    rig.clock.now += 10
    rig.permit()
    assert rig.rejection() == Rejected(HALF_OPEN, 20.0)


def test_ignored_probe_gives_its_slot_back_and_decides_nothing() -> None:
    """A cancelled probe is neither success nor failure."""
    rig = BreakerRig()
    rig.trip()
    rig.wait_out()
    rig.permit().ignore()
    assert rig.breaker.state is HALF_OPEN
    rig.succeed()
    assert rig.breaker.state is CLOSED


def test_permit_without_a_result_in_its_block_is_ignored() -> None:
    """As a context manager, a permit is released even when the call is cancelled."""
    rig = BreakerRig()
    rig.trip()
    rig.wait_out()
    with pytest.raises(KeyboardInterrupt), rig.permit():
        raise KeyboardInterrupt
    assert rig.breaker.state is HALF_OPEN
    assert isinstance(rig.breaker.acquire(), Permit)


def test_lost_probe_opens_again_when_its_lease_is_over() -> None:
    """A probe that is never released does not block the breaker forever."""
    rig = BreakerRig(lease_seconds=30)
    rig.trip()
    rig.wait_out()
    lost = rig.permit()
    rig.clock.now += 29
    assert rig.rejection().retry_after_seconds == pytest.approx(1)
    rig.clock.now += 1
    assert rig.rejection().state is OPEN
    lost.success()
    assert rig.breaker.state is OPEN
    assert rig.breaker.snapshot().stale_results_total == 1


def test_stale_result_changes_nothing_but_a_counter() -> None:
    """A result from before the last state change is only counted as stale."""
    rig = BreakerRig()
    late_success, late_failure = rig.permit(), rig.permit()
    rig.trip()
    late_success.success()
    assert rig.breaker.state is OPEN
    rig.wait_out()
    rig.permit()
    late_failure.failure()
    assert rig.breaker.state is HALF_OPEN
    assert rig.breaker.snapshot().stale_results_total == 2


def test_permit_counts_once() -> None:
    """A second result for the same call is ignored and not counted."""
    rig = BreakerRig(failure_threshold=2, minimum_calls=100)
    permit = rig.permit()
    permit.failure()
    permit.failure()
    permit.success()
    snapshot = rig.breaker.snapshot()
    assert (snapshot.consecutive_failures, snapshot.stale_results_total) == (1, 0)
