"""Makes each worker finish its requests and report them before any process quits at the end of a run.

Locust's master itself quits half a second after telling its workers to, and requests that they finish later
are never counted; nor does it report that the requests of a lost worker are missing.
"""

import time
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

_FINISH, _FINISHED = "finish", "finished"
_MARGIN_SECONDS = 5.0
_POLL_SECONDS = 0.02


class LastReports:
    """Both sides of this exchange; which one a process takes is known once Locust has started."""

    def __init__(self) -> None:
        self.workers: set[str] = set()
        """All workers that took part in the current run."""
        self._finished: set[str] = set()
        self._has_waited = False

    @property
    def lost_workers(self) -> set[str]:
        """The workers that were gone when the run ended, along with anything that they had not reported."""
        return self.workers - self._finished if self._has_waited else set()

    def listen(self, environment: Environment, **_: Any) -> None:
        """Registers the listeners for this process's side."""
        runner, events = environment.runner, environment.events
        if isinstance(runner, WorkerRunner):
            runner.register_message(_FINISH, self._finish, concurrent=True)
        elif isinstance(runner, MasterRunner):
            runner.register_message(_FINISHED, self._note_finished)
            for hook, listener in (
                (events.test_start, self._note_start),
                (events.worker_report, self._note_report),
                (events.test_stopping, self._wait),
            ):
                hook.add_listener(listener)  # type: ignore[no-untyped-call] # Locust's annotations are partial

    def _note_start(self, environment: Environment, **_: Any) -> None:
        self.workers = {client.id for client in _present(environment)}
        self._finished = set()
        self._has_waited = False

    def _note_report(self, client_id: str, **_: Any) -> None:
        self.workers.add(client_id)

    def _wait(self, environment: Environment, **_: Any) -> None:
        runner = environment.runner
        assert isinstance(runner, MasterRunner)  # noqa: S101 - as `listen` found it
        runner.send_message(_FINISH)
        deadline = time.monotonic() + (environment.stop_timeout or 0) + _MARGIN_SECONDS
        # A worker that dies meanwhile is no longer present once it has missed some heartbeats.
        while {client.id for client in _present(environment)} - self._finished:
            if time.monotonic() > deadline:
                break
            gevent.sleep(_POLL_SECONDS)
        self._has_waited = True

    def _note_finished(self, environment: Environment, msg: Any, **_: Any) -> None:
        environment.events.worker_report.fire(client_id=msg.node_id, data=msg.data)  # type: ignore[no-untyped-call]
        self._finished.add(msg.node_id)

    @staticmethod
    def _finish(environment: Environment, **_: Any) -> None:
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)  # noqa: S101 - as `listen` found it
        runner.stop()
        data: dict[str, Any] = {}
        environment.events.report_to_master.fire(client_id=runner.client_id, data=data)  # type: ignore[no-untyped-call]
        runner.send_message(_FINISHED, data)


def _present(environment: Environment) -> list[Any]:
    runner = environment.runner
    assert isinstance(runner, MasterRunner)  # noqa: S101 - only it asks
    return [*runner.clients.ready, *runner.clients.spawning, *runner.clients.running]
