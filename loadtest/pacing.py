"""When a shopper's next request is due, so that all of them together keep the rate that was asked for."""

import time
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.shapes import UNKNOWN_DURATION_SECONDS, Shape, rate_at


class Crowd:
    """How many shoppers there are on all workers together: a worker of its own accord knows only its own."""

    _MESSAGE = "crowd"

    def __init__(self) -> None:
        self._told = 0

    def size_seen_by(self, runner: Runner | None) -> int:
        """Returns the number over all workers, or until the master has told it, this process's."""
        own: int = runner.target_user_count if runner else 1
        return max(own, self._told) if isinstance(runner, WorkerRunner) else own

    def listen(self, environment: Environment, **_: Any) -> None:
        """Has a worker hear the master, and the master tell its workers whenever the number changed."""
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(self._MESSAGE, self._note)
        elif isinstance(runner, MasterRunner):
            environment.events.spawning_complete.add_listener(  # type: ignore[no-untyped-call] # partly annotated
                lambda user_count, **_: runner.send_message(self._MESSAGE, user_count)
            )

    def _note(self, msg: Any, **_: Any) -> None:
        self._told = msg.data


class Pace:
    """The seconds between two requests of one shopper, as rate, shape and crowd are now."""

    def __init__(self) -> None:
        self.crowd = Crowd()
        self.note_start()

    def note_start(self, **_: Any) -> None:
        """A run begins: its shape too."""
        self._started = time.monotonic()

    def rate(self, environment: Environment) -> float:
        """Requests a second over all shoppers, at this moment."""
        options: Any = environment.parsed_options
        return rate_at(
            Shape(options.shape),
            time.monotonic() - self._started,
            rate=options.rate,
            duration_seconds=_seconds_of(options.run_time) or UNKNOWN_DURATION_SECONDS,
        )

    def interval_seconds(self, environment: Environment) -> float:
        """Asked each time: on Locust's page users come and go while the test runs."""
        return max(self.crowd.size_seen_by(environment.runner), 1) / self.rate(environment)


def _seconds_of(run_time: object) -> float:
    # Locust has turned "1h30m" into seconds by now, or left nothing there.
    return float(run_time) if isinstance(run_time, int | float) else 0.0


class Schedule:
    """When one shopper's requests are due. It never skips one: who was held up starts at once until even.

    So a shop that hangs is charged for every request that it kept from being sent, as `wrk2` does, and what
    was not sent in time is no reason to be sent less ("coordinated omission").
    """

    def __init__(self, first_due: float) -> None:
        self.due = first_due
        """When the present request was to be sent, in seconds of the monotonic clock."""

    def advance(self, interval_seconds: float, now: float) -> float:
        """Goes on to the next request; returns the seconds until it is due, 0 when that is past."""
        self.due += interval_seconds
        return max(0.0, self.due - now)
