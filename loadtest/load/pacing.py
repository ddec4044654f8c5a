"""Computes when a shopper's next request is due, so that all shoppers together keep the requested rate."""

import time
from typing import Any

from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtest.load.shapes import UNKNOWN_DURATION_SECONDS, Shape, elapsed_after, rate_at

_LEAST_RATE = 0.01
"""A lower bound, because Locust's page accepts any number."""


class Crowd:
    """The number of shoppers on all workers, and the run's length; a worker knows only its own shoppers."""

    _MESSAGE = "crowd"

    def __init__(self) -> None:
        self._told_size = 0
        self._told_seconds = 0.0

    def size_seen_by(self, runner: Runner | None) -> int:
        """Returns the number on all workers or, until the master has sent it, in this process."""
        own: int = runner.target_user_count if runner else 1
        return max(1, own, self._told_size if isinstance(runner, WorkerRunner) else 0)

    def seconds_seen_by(self, environment: Environment) -> float:
        """Returns the run's length, or the period of the shapes if it is not known."""
        options: Any = environment.parsed_options
        is_worker = isinstance(environment.runner, WorkerRunner)
        return (self._told_seconds if is_worker else _seconds_of(options)) or UNKNOWN_DURATION_SECONDS

    def listen(self, environment: Environment, **_: Any) -> None:
        """Makes the master notify its workers whenever the number changes, and a worker listen to it."""
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(self._MESSAGE, self._note)
        elif isinstance(runner, MasterRunner):

            def tell(**_: Any) -> None:
                message = {
                    "size": runner.target_user_count,
                    "seconds": _seconds_of(environment.parsed_options),
                }
                runner.send_message(self._MESSAGE, message)

            # At the start it arrives before the first shopper is spawned; later, after their number changed.
            for hook in (environment.events.test_start, environment.events.spawning_complete):
                hook.add_listener(tell)  # type: ignore[no-untyped-call] # Locust's annotations are partial

    def _note(self, msg: Any, **_: Any) -> None:
        self._told_size, self._told_seconds = msg.data["size"], msg.data["seconds"]


class Pace:
    """The times at which requests become due, by the current rate, shape and crowd."""

    def __init__(self) -> None:
        self.crowd = Crowd()
        self.note_start()

    def note_start(self, **_: Any) -> None:
        """Starts the shape over at the beginning of a run."""
        self._started = time.monotonic()

    def rate(self, environment: Environment) -> float:
        """Returns the present rate over all shoppers, in requests a second."""
        return rate_at(
            _shape_of(environment),
            time.monotonic() - self._started,
            rate=_rate_of(environment),
            duration_seconds=self.crowd.seconds_seen_by(environment),
        )

    def next_due(self, due: float, environment: Environment, *, share: float = 1.0) -> float:
        """Returns when a shopper's next request, or a share of one, is due after `due`; monotonic clock.

        It is computed anew each time, because users come and go on Locust's page while the test runs.
        """
        elapsed = elapsed_after(
            _shape_of(environment),
            due - self._started,
            share * self.crowd.size_seen_by(environment.runner),
            rate=_rate_of(environment),
            duration_seconds=self.crowd.seconds_seen_by(environment),
        )
        return self._started + elapsed


def _shape_of(environment: Environment) -> Shape:
    options: Any = environment.parsed_options
    return Shape(options.shape)


def _rate_of(environment: Environment) -> float:
    options: Any = environment.parsed_options
    return max(_LEAST_RATE, float(options.rate))


def _seconds_of(options: Any) -> float:
    # Locust has already converted a text such as "1h30m" to seconds, unless there is none.
    return float(options.run_time) if isinstance(options.run_time, int | float) else 0.0
