"""Pushes Locust's own statistics to the OTLP receiver of Prometheus.

Each process pushes the requests that it made; the master, or the only process, pushes the number of shoppers.
"""

from collections.abc import Iterable
from typing import Any

from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from loadtest.load.pacing import Pace
from loadtest.pushing import END_SECONDS, pushing_provider

_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Publisher:
    """A publisher that pushes every few seconds from Locust's `init` to its end, if it has an address."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._provider: MeterProvider | None = None
        self._has_ended = False

    def begin(self, environment: Environment, **_: Any) -> None:
        """Starts pushing, if an address was given; called after Locust has forked its workers."""
        options, runner = environment.parsed_options, environment.runner
        if not options or not options.prometheus_url:
            return
        # Only one of the processes reports that pushing fails.
        is_quiet = isinstance(runner, WorkerRunner)
        self._provider = pushing_provider(options.prometheus_url, "locust", is_quiet=is_quiet)
        if not isinstance(runner, WorkerRunner):
            self._record_crowd(environment)
        if not isinstance(runner, MasterRunner):
            self._record_requests(environment)

    def end(self, **_: Any) -> None:
        """Pushes the last counts, with zero shoppers; takes two seconds at most."""
        self._has_ended = True
        if self._provider is not None:
            self._provider.shutdown(timeout_millis=END_SECONDS * 1000)
            self._provider = None

    def _record_crowd(self, environment: Environment) -> None:
        assert self._provider is not None  # noqa: S101 - `begin` made it
        runner = environment.runner
        assert runner is not None  # noqa: S101 - Locust has it before `init`

        def users(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(0 if self._has_ended else runner.user_count)

        def rate(_: CallbackOptions) -> Iterable[Observation]:
            is_on = runner.state in {STATE_RUNNING, STATE_SPAWNING} and not self._has_ended
            yield Observation(self._pace.rate(environment) if is_on else 0.0)

        meter = self._provider.get_meter("loadtest")
        meter.create_observable_gauge("locust.users", [users], description="Shoppers at the same time")
        meter.create_observable_gauge(
            "locust.intended_rate", [rate], description="Requests a second asked for, over all shoppers"
        )

    def _record_requests(self, environment: Environment) -> None:
        assert self._provider is not None  # noqa: S101 - `begin` made it
        meter = self._provider.get_meter("loadtest")
        counter = meter.create_counter("locust.requests", description="Requests by what came of them")
        latencies = meter.create_histogram(
            "locust.request.latency",
            unit="s",
            description="From when a request was due to its end",
            explicit_bucket_boundaries_advisory=_BUCKETS_SECONDS,
        )
        delays = meter.create_histogram(
            "locust.start.delay",
            unit="s",
            description="How late requests were sent after they were due",
            explicit_bucket_boundaries_advisory=_BUCKETS_SECONDS,
        )

        def note_request(
            *,
            request_type: str,
            name: str,
            exception: BaseException | None,
            context: dict[str, Any],
            response_time: float,
            **_: Any,
        ) -> None:
            labels = {"method": request_type, "name": name}
            has_failed = exception is not None
            # Add to both, so that the first failure is an increase from 0 instead of a new series.
            counter.add(int(not has_failed), {**labels, "outcome": "expected"})
            counter.add(int(has_failed), {**labels, "outcome": "failed"})
            latencies.record(response_time / 1000, labels)
            delays.record(max(0.0, context["started"] - context["due"]))

        environment.events.request.add_listener(note_request)  # type: ignore[no-untyped-call] # partly annotated
