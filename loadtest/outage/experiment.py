"""`make outage`: warm-up, a fault under load, recovery and drain, reported live and then judged.

The services are restarted for the run with the settings that its fault needs, and put back afterwards.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console

from loadtest.activity import Activity
from loadtest.lab import STARTED_IN_ORDER, Lab
from loadtest.load.generator import Generator, Load, prometheus_at
from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestsFollower, read_requests
from loadtest.outage.data import OutageRun, Phases
from loadtest.outage.faults import Fault, close_slow_link, open_slow_link
from loadtest.traces import look_up, sampled
from loadtest.watch import Reading, Watcher
from stack.backends.jaeger import Jaeger
from stack.errors import StackError
from stack.services import urls_of_services
from telemetry.config import TelemetryConfig

WARM_UP_SECONDS = 4.0
"""The start of the load, excluded from comparisons because caches and connections are cold."""
SHORTEST_PHASE_SECONDS = 10.0
_JAEGER_SECONDS = 20.0
"""How long the Collector may take to forward the last spans."""
_STATUS_SECONDS = 0.5
_QUIET_SECONDS = 1.0


class Outage:
    """One outage run.

    Args:
        lab: the stack to break.
        fault: the fault to inflict.
        rate: requests a second.
        users: the number of shoppers.
        seconds: how long the fault lasts.
        folder: where requests and results are kept.
        console: where progress is reported.
    """

    def __init__(
        self,
        lab: Lab,
        fault: Fault,
        *,
        rate: float,
        users: int,
        seconds: float,
        folder: Path,
        console: Console,
    ) -> None:
        self._lab = lab
        self._fault = fault
        self._rate = rate
        self._users = users
        self._seconds = seconds
        self._folder = folder
        self._console = console
        self._requests_file = folder / "requests.csv"
        self._around_seconds = max(SHORTEST_PHASE_SECONDS, seconds / 2)
        self._started = 0.0
        self._delivered_before = 0

    @property
    def load_seconds(self) -> float:
        """The duration of the load."""
        return WARM_UP_SECONDS + 2 * self._around_seconds + self._seconds

    def run(self) -> OutageRun:
        """Runs the experiment; afterwards the stack is put back, whatever happened.

        Raises:
            StackError: the stack cannot be brought up, or a part does not become healthy.
        """
        self._lab.check_room(self._rate * self.load_seconds)
        fault, runtime = self._fault, self._lab.runtime
        with ExitStack() as afterwards:
            if fault.uses_slow_link:
                # Closed last, even if opening it fails: until they are put back the services send through it.
                afterwards.callback(close_slow_link, runtime)
                open_slow_link(runtime)
            afterwards.callback(self._lab.put_back)
            if fault.collector_variables:
                self._lab.restart("collector", fault.collector_variables)
            variables = {"TELEMETRY_TRACE_RESPONSE": "true", **fault.service_variables(runtime)}
            for service in STARTED_IN_ORDER:
                self._lab.restart(service, variables)
            config = self._lab.config_of_services(variables)
            watcher = afterwards.enter_context(Watcher(urls_of_services(self._lab.settings)))
            activity = afterwards.enter_context(
                closing(Activity(prometheus_at(self._lab.settings.prometheus_port)))
            )
            self._started = time.monotonic()
            self._send_leftovers(watcher, config.breaker_open_max_seconds)
            return self._run(
                watcher, activity, config, self._lab.shown_configuration(variables, fault.collector_variables)
            )

    def _run(
        self, watcher: Watcher, activity: Activity, config: TelemetryConfig, configuration: dict[str, str]
    ) -> OutageRun:
        result_file = self._folder / "load.json"
        settings = self._lab.settings
        load = Load(
            users=self._users,
            rate=self._rate,
            storefront_port=settings.storefront_port,
            prometheus_url=prometheus_at(settings.prometheus_port),
        )
        self._print(watcher, f"load: {self._rate:g} requests/s for {self.load_seconds:g} s")
        generator = Generator(
            load,
            seconds=self.load_seconds,
            result_file=result_file,
            requests_file=self._requests_file,
            log=self._folder / "locust.log",
        )
        try:
            loaded = self._wait_for_load(generator)
            follower = RequestsFollower(self._requests_file)
            wait = self._waiter(watcher, follower)
            wait(WARM_UP_SECONDS)
            before = time.time()
            wait(self._around_seconds)
            fault = time.time()
            self._print(watcher, f"the fault begins: {self._fault.what}")
            with activity.during("fault", self._fault.name):
                self._fault.inflict(self._lab.runtime, self._seconds, wait)
            mended = time.time()
            self._print(watcher, "the fault is over")
            with self._console.status("recovery under load"):
                while generator.process.poll() is None:
                    wait(_STATUS_SECONDS)
            if generator.wait() != 0:
                raise StackError(f"Locust failed; see its output in {self._folder / 'locust.log'}")
        finally:
            generator.stop()
        quiet = time.time()
        self._print(watcher, "the load is over: what waits is sent")
        drained = self._drain(watcher, config.breaker_open_max_seconds)
        requests = read_requests([self._requests_file])
        traces = sampled(requests)
        self._print(watcher, f"asking Jaeger for each of {len(traces)} traces")
        with self._console.status("asking Jaeger"):
            delivered = sum(reading.delivered for reading in watcher.latest.values())
            jaeger = Jaeger(settings.jaeger_port)
            spans = delivered - self._delivered_before
            stored = look_up(jaeger, traces, spans=spans, seconds=_JAEGER_SECONDS)
        return OutageRun(
            fault=self._fault,
            rate=self._rate,
            seconds=self._seconds,
            runtime=self._lab.runtime.kind,
            phases=Phases(loaded, before, fault, mended, quiet, drained),
            readings=watcher.readings,
            unread=tuple(watcher.failures),
            requests=requests,
            load=LoadResult.model_validate_json(result_file.read_text()),
            traces=stored,
            delivered_before=self._delivered_before,
            timeout_seconds=config.attempt_timeout_seconds,
            delay_seconds=config.schedule_delay_ms / 1000,
            open_max_seconds=config.breaker_open_max_seconds,
            configuration=configuration,
        )

    def _wait_for_load(self, generator: Generator) -> float:
        """Waits for the first request, and returns the time."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and generator.process.poll() is None:
            if RequestsFollower(self._requests_file).read_new():
                return time.time()
            time.sleep(0.1)
        raise StackError(f"Locust sends no requests; see its output in {self._folder / 'locust.log'}")

    def _waiter(self, watcher: Watcher, follower: RequestsFollower) -> Callable[[float], None]:
        def wait(seconds: float) -> None:
            end = time.monotonic() + seconds
            with self._console.status("") as status:
                while (left := end - time.monotonic()) > 0:
                    count = len(follower.read_new())
                    status.update(f"{self._elapsed()}  {_describe(watcher.latest)}; +{count} requests")
                    time.sleep(min(_STATUS_SECONDS, left))

        return wait

    def _send_leftovers(self, watcher: Watcher, open_max_seconds: float) -> None:
        """Waits until the services have sent what an interrupted run left in their spools."""
        if self._drain(watcher, open_max_seconds) is None:
            raise StackError(f"the services do not send what they have left: {_describe(watcher.latest)}")
        self._delivered_before = sum(reading.delivered for reading in watcher.latest.values())

    def _drain(self, watcher: Watcher, open_max_seconds: float) -> float | None:
        """Waits until no spans are pending; returns when that was read, or None when the time is over."""
        deadline = time.monotonic() + open_max_seconds + 60
        quiet = time.time() + _QUIET_SECONDS
        with self._console.status("") as status:
            while time.monotonic() < deadline:
                latest = watcher.latest
                status.update(f"{self._elapsed()}  {_describe(latest)}")
                are_known = latest.keys() == watcher.readings.keys()
                if are_known and all(it.at > quiet and not it.pending for it in latest.values()):
                    return min(reading.at for reading in latest.values())
                time.sleep(0.1)
        return None

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:4.0f} s"

    def _print(self, watcher: Watcher, what: str) -> None:
        latest = watcher.latest
        described = f"  [dim]{_describe(latest)}[/]" if latest else ""
        self._console.print(f"{self._elapsed()}  {what}{described}", highlight=False, soft_wrap=True)


def _describe(latest: dict[str, Reading]) -> str:
    breakers = ", ".join(f"{name} {reading.breaker}" for name, reading in sorted(latest.items()))
    readings = latest.values()
    return (
        f"breaker: {breakers}; spans: {sum(it.ended for it in readings)} ended, "
        f"{sum(it.delivered for it in readings)} delivered, "
        f"{sum(it.in_memory for it in readings)} in memory, {sum(it.spooled for it in readings)} on disk"
    )
