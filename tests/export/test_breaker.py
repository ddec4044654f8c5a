"""The breaker by scripts of calls and clock moves, with the state asserted after each."""

import logging
import math
from collections.abc import Callable

import pytest

from telemetry.export.breaker import (
    LONGEST_RETRY_AFTER_SECONDS,
    SHORTEST_SHARE,
    BreakerSettings,
    BreakerState,
    CircuitBreaker,
    Permit,
    Rejected,
    Transition,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


class Rig:
    """A breaker on a clock of its own, with the highest jitter: it waits its whole ceiling."""

    def __init__(self, jitter: float = 1.0, **settings: float) -> None:
        self.clock = Clock()
        self.jitter = jitter
        self.breaker = CircuitBreaker(
            BreakerSettings(**settings),  # type: ignore[arg-type]
            clock=self.clock,
            random=lambda: self.jitter,
        )

    def permit(self) -> Permit:
        """A permit; fails where there is none."""
        answer = self.breaker.acquire()
        assert isinstance(answer, Permit), answer
        return answer

    def rejection(self) -> Rejected:
        """A rejection; fails where there is a permit."""
        answer = self.breaker.acquire()
        assert isinstance(answer, Rejected)
        return answer

    def succeed(self, times: int = 1) -> None:
        """So many calls that succeed."""
        for _ in range(times):
            self.permit().success()

    def fail(self, times: int = 1) -> None:
        """So many calls that fail."""
        for _ in range(times):
            self.permit().failure()

    def trip(self) -> None:
        """Opens a closed breaker."""
        self.fail(self.breaker.settings.failure_threshold)
        assert self.breaker.state is OPEN

    def wait_out(self) -> None:
        """Moves the clock to the end of the open time."""
        self.clock.now += self.breaker.snapshot().retry_in_seconds or 0.0


def test_consecutive_failures_open_and_a_success_between_does_not_count() -> None:
    """Three in a row open it; two, a success and two do not."""
    rig = Rig(minimum_calls=100)
    rig.fail(2)
    rig.succeed()
    rig.fail(2)
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failure_rate_opens_only_from_the_minimum_of_calls_on() -> None:
    """Half of the calls failing opens it, but not before there were enough of them."""
    rig = Rig(failure_threshold=100, minimum_calls=6, failure_rate=0.5)
    for _ in range(2):
        rig.fail()
        rig.succeed()
    rig.fail()
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failure_rate_opens_at_its_very_value() -> None:
    """Exactly half is enough where half is the rule."""
    rig = Rig(failure_threshold=100, minimum_calls=4, failure_rate=0.5)
    rig.succeed(2)
    rig.fail()
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.state is OPEN


def test_failures_leave_the_window_with_time() -> None:
    """A failure older than the window says nothing any more."""
    rig = Rig(failure_threshold=100, minimum_calls=2, failure_rate=0.9, window_seconds=10)
    rig.fail()
    rig.clock.now += 11
    assert rig.breaker.snapshot().failure_rate == 0
    rig.fail()
    assert rig.breaker.state is CLOSED


def test_window_is_as_long_as_it_says() -> None:
    """A failure counts through the last tenth of the window, and no longer."""
    rig = Rig(window_seconds=10)
    rig.fail()
    rig.clock.now += 9
    assert rig.breaker.snapshot().failure_rate == 1
    rig.clock.now += 1
    assert rig.breaker.snapshot().failure_rate == 0


def test_open_rejects_and_says_when_to_ask_again() -> None:
    """Until its time is over an open breaker gives no permit."""
    rig = Rig(open_seconds=2)
    rig.trip()
    assert rig.rejection() == Rejected(OPEN, 2.0)
    rig.clock.now += 1.5
    assert rig.rejection().retry_after_seconds == pytest.approx(0.5)


def test_state_stays_open_after_its_time_until_somebody_asks() -> None:
    """Reading changes nothing; acquiring does."""
    rig = Rig()
    rig.trip()
    rig.wait_out()
    assert rig.breaker.state is OPEN
    assert rig.breaker.snapshot().retry_in_seconds == 0
    rig.permit()
    assert rig.breaker.state is HALF_OPEN


def test_probe_that_succeeds_closes_and_one_that_fails_opens_again() -> None:
    """The probe decides."""
    rig = Rig()
    rig.trip()
    rig.wait_out()
    rig.fail()
    assert rig.breaker.state is OPEN
    rig.wait_out()
    rig.succeed()
    assert rig.breaker.state is CLOSED
    assert rig.breaker.snapshot().opened_total == 2


def test_half_open_gives_so_many_probes_and_closes_when_all_succeed() -> None:
    """Two probes: no third permit, and the first success alone does not close."""
    rig = Rig(probes=2, lease_seconds=30)
    rig.trip()
    rig.wait_out()
    first, second = rig.permit(), rig.permit()
    assert rig.rejection() == Rejected(HALF_OPEN, 30.0)
    first.success()
    assert isinstance(rig.breaker.acquire(), Rejected)
    second.success()
    assert rig.breaker.state is CLOSED


def test_half_open_with_all_slots_taken_points_to_the_lease_that_ends_first() -> None:
    """Whoever is turned away may come back when the oldest probe counts as lost."""
    rig = Rig(probes=2, lease_seconds=30)
    rig.trip()
    rig.wait_out()
    rig.permit()
    rig.clock.now += 10
    rig.permit()
    assert rig.rejection() == Rejected(HALF_OPEN, 20.0)


def test_ignored_probe_gives_its_slot_back_and_decides_nothing() -> None:
    """A cancelled probe is neither success nor failure."""
    rig = Rig()
    rig.trip()
    rig.wait_out()
    rig.permit().ignore()
    assert rig.breaker.state is HALF_OPEN
    rig.succeed()
    assert rig.breaker.state is CLOSED


def test_permit_left_unsettled_by_its_block_is_ignored() -> None:
    """As a context manager a permit is released even when the call is cancelled."""
    rig = Rig()
    rig.trip()
    rig.wait_out()
    with pytest.raises(KeyboardInterrupt), rig.permit():
        raise KeyboardInterrupt
    assert rig.breaker.state is HALF_OPEN
    assert isinstance(rig.breaker.acquire(), Permit)


def test_lost_probe_opens_again_when_its_lease_is_over() -> None:
    """A probe that is never settled does not block the breaker for ever."""
    rig = Rig(lease_seconds=30)
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
    """A success or failure from before the last change of state is late news."""
    rig = Rig()
    late_success, late_failure = rig.permit(), rig.permit()
    rig.trip()
    late_success.success()
    assert rig.breaker.state is OPEN
    rig.wait_out()
    rig.permit()
    late_failure.failure()
    assert rig.breaker.state is HALF_OPEN
    assert rig.breaker.snapshot().stale_results_total == 2


def test_permit_settles_once() -> None:
    """The second word on a call is not heard, nor counted."""
    rig = Rig(failure_threshold=2, minimum_calls=100)
    permit = rig.permit()
    permit.failure()
    permit.failure()
    permit.success()
    snapshot = rig.breaker.snapshot()
    assert (snapshot.consecutive_failures, snapshot.stale_results_total) == (1, 0)


def test_open_time_doubles_up_to_its_ceiling() -> None:
    """Each opening waits longer, never longer than the ceiling."""
    rig = Rig(open_seconds=2, open_max_seconds=10)
    rig.trip()
    waits = []
    for _ in range(5):
        waits.append(rig.breaker.snapshot().retry_in_seconds)
        rig.wait_out()
        rig.fail()
    assert waits == [2, 4, 8, 10, 10]


@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.3, 1.0])
def test_jitter_draws_below_the_ceiling_and_never_next_to_nothing(jitter: float) -> None:
    """Full jitter, with a floor."""
    rig = Rig(jitter=jitter, open_seconds=2)
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == pytest.approx(2 * max(jitter, SHORTEST_SHARE))


def test_server_may_ask_for_more_patience_within_reason() -> None:
    """Retry-After is a floor of the open time, and is itself bounded."""
    rig = Rig(failure_threshold=1, open_seconds=2)
    rig.permit().failure(retry_after_seconds=90)
    assert rig.breaker.snapshot().retry_in_seconds == 90
    rig.wait_out()
    rig.permit().failure(retry_after_seconds=0.001)
    assert rig.breaker.snapshot().retry_in_seconds == 4
    rig.wait_out()
    rig.permit().failure(retry_after_seconds=1e9)
    assert rig.breaker.snapshot().retry_in_seconds == LONGEST_RETRY_AFTER_SECONDS


def test_one_lucky_probe_does_not_forget_the_outage_but_lasting_success_does() -> None:
    """The exponent shrinks by one with each so many successes."""
    rig = Rig(open_seconds=1, open_max_seconds=100, minimum_calls=5)
    rig.trip()
    for _ in range(3):
        rig.wait_out()
        rig.fail()
    rig.wait_out()
    rig.succeed()
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 16
    rig.wait_out()
    rig.succeed()
    rig.succeed(20)
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 2


def test_long_success_does_not_make_the_first_open_time_shorter() -> None:
    """Good conduct pays off an outage, and is not saved up for the next."""
    rig = Rig(open_seconds=2, minimum_calls=5)
    rig.succeed(100)
    rig.clock.now += 60
    rig.trip()
    assert rig.breaker.snapshot().retry_in_seconds == 2


def test_forced_open_rejects_until_reset() -> None:
    """Only a person undoes what a person did."""
    rig = Rig()
    rig.breaker.force_open()
    rig.clock.now += 10_000
    assert rig.rejection() == Rejected(BreakerState.FORCED_OPEN, None)
    rig.breaker.reset()
    rig.succeed()


def test_disabled_permits_everything_and_learns_nothing() -> None:
    """Failures do not open a disabled breaker."""
    rig = Rig()
    rig.breaker.disable()
    rig.fail(50)
    assert rig.breaker.state is BreakerState.DISABLED
    assert rig.breaker.snapshot().failure_rate == 0


def test_reset_forgets_failures_and_the_length_of_the_open_time() -> None:
    """A reset breaker behaves as a new one; its totals stay."""
    rig = Rig(open_seconds=2)
    rig.trip()
    rig.breaker.reset()
    rig.fail(2)
    rig.breaker.reset()
    rig.fail(2)
    assert rig.breaker.state is CLOSED
    rig.fail()
    assert rig.breaker.snapshot().retry_in_seconds == 2
    assert rig.breaker.snapshot().opened_total == 2


def test_listeners_hear_each_transition_in_order_and_outside_the_lock() -> None:
    """A listener may use the breaker; one that raises is logged and harms nobody."""
    rig = Rig()
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
        ("open", "half_open", "the open time is over"),
        ("half_open", "closed", "enough probes succeeded"),
    ]


def test_listener_hears_of_the_half_open_state_before_the_probe_is_sent() -> None:
    """What `acquire()` changes is told by `acquire()`, not by whoever comes next."""
    rig = Rig()
    rig.trip()
    rig.wait_out()
    heard: list[Transition] = []
    rig.breaker.add_listener(heard.append)
    rig.permit()
    assert [event.to_state for event in heard] == [HALF_OPEN]


def test_nothing_of_the_users_runs_under_the_lock() -> None:
    """Clock, random numbers and listeners find the lock free, whatever the breaker was asked."""
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
    """Telling goes on."""
    rig = Rig()
    heard: list[Transition] = []

    def broken(_: Transition) -> None:
        raise RuntimeError("on purpose")

    rig.breaker.add_listener(broken)
    rig.breaker.add_listener(heard.append)
    with caplog.at_level(logging.ERROR):
        rig.trip()
    assert len(heard) == 1
    assert "on purpose" in caplog.text


def test_listener_that_changes_the_state_is_told_afterwards() -> None:
    """A transition caused by a listener comes after the one it was told of."""
    rig = Rig()
    heard: list[str] = []

    def stop(event: Transition) -> None:
        if event.to_state is OPEN:
            rig.breaker.force_open()
        heard.append(event.to_state)

    rig.breaker.add_listener(stop)
    rig.fail(3)
    assert heard == ["open", "forced_open"]


def test_clock_that_steps_back_neither_lengthens_a_wait_nor_raises() -> None:
    """Time that was reached stays reached."""
    rig = Rig(open_seconds=2)
    rig.trip()
    rig.clock.now -= 500
    assert rig.rejection().retry_after_seconds == 2
    rig.clock.now += 502
    rig.succeed()
    assert rig.breaker.state is CLOSED


def test_forked_child_begins_closed_with_a_lock_of_its_own() -> None:
    """A lock held while the process forked does not hang the child."""
    rig = Rig()
    rig.trip()
    rig.breaker._lock.acquire()
    rig.breaker.reset_after_fork()
    rig.succeed()
    snapshot = rig.breaker.snapshot()
    assert (snapshot.state, snapshot.opened_total, dict(snapshot.transitions)) == (CLOSED, 0, {})


def test_permit_given_before_the_fork_is_stale_in_the_child() -> None:
    """How the parent's call went says nothing about the child's."""
    rig = Rig(failure_threshold=1)
    inherited = rig.permit()
    rig.breaker.reset_after_fork()
    inherited.failure()
    assert rig.breaker.state is CLOSED
    assert rig.breaker.snapshot().stale_results_total == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_threshold", 0),
        ("minimum_calls", 0),
        ("probes", 0),
        ("window_seconds", 0),
        ("open_seconds", -1),
        ("lease_seconds", 0),
        ("lease_seconds", math.inf),
        ("open_seconds", math.nan),
        ("failure_rate", 0),
        ("failure_rate", 1.1),
        ("open_max_seconds", 1),
    ],
)
def test_bad_setting_is_named_with_its_value(field: str, value: float) -> None:
    """The message says which field, what rule, what value."""
    with pytest.raises(ValueError, match=rf"{field} must be .*{value}"):
        BreakerSettings(**{field: value})  # type: ignore[arg-type]


def test_defaults_are_the_documented_ones() -> None:
    """They stand in the configuration table too."""
    settings: Callable[[str], object] = BreakerSettings().__getattribute__
    assert [
        settings(name) for name in ("failure_threshold", "window_seconds", "failure_rate", "minimum_calls")
    ] == [
        3,
        30.0,
        0.5,
        5,
    ]
    assert [settings(name) for name in ("open_seconds", "open_max_seconds", "probes")] == [2.0, 60.0, 1]
