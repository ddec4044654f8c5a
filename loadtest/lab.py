"""The stack as an experiment uses it: parts are restarted with other settings and then put back."""

import math
from collections.abc import Mapping
from contextlib import ExitStack

from filelock import FileLock, Timeout
from rich.console import Console

from stack.current import current_stack
from stack.errors import StackError
from stack.runtime import PartState, Runtime
from stack.service_variables import is_service_variable, service_variables
from stack.services import SERVICE_NAMES, STOREFRONT
from stack.settings import StackSettings
from telemetry.config import TelemetryConfig

STARTED_IN_ORDER = tuple(reversed(SERVICE_NAMES))
"""The inventory comes first, because the storefront calls it."""
_RELEVANT = ("OTEL_", "TELEMETRY_", "ENVIRONMENT", "COLLECTOR_", "TAIL_")
"""Prefixes of the variables that affect a run's result."""


class Lab:
    """The running stack; for use by one thread.

    Args:
        settings: the stack's settings.
        runtime: the runtime that it runs in.
        variables: override the services' own in every run; the experiment's own override these.
    """

    def __init__(
        self, settings: StackSettings, runtime: Runtime, variables: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self._variables = dict(variables or {})
        self._restarted: list[str] = []
        self._lock: FileLock | None = None
        """Held for the lab's lifetime."""

    @classmethod
    def open(cls, console: Console) -> "Lab":
        """Opens the stack of this checkout and starts it if it is not up.

        Raises:
            StackError: it cannot be started, it samples in the Collector, or another experiment uses it.
        """
        settings, runtime, reason = current_stack(console)
        lock = _only_one(settings)
        if any(part.state is not PartState.UP for part in runtime.status()):
            settings, runtime, reason = current_stack(console, to_start=True)
            console.print("the stack is not up: it is started first", highlight=False)
            console.print(f"runtime: {runtime.kind} ({reason})", soft_wrap=True, highlight=False)
            runtime.up()
        if settings.tail_sampling_percentage is not None:
            raise StackError(
                "TAIL_SAMPLING_PERCENTAGE is set: with tail sampling on, traces are missing in Jaeger on "
                "purpose; unset it and `make up` again"
            )
        lab = cls(settings, runtime)
        lab._lock = lock
        return lab

    def check_room(self, traces: float) -> None:
        """Checks that Jaeger can keep this many traces, so that all of them can be looked up.

        Raises:
            StackError: it cannot keep them all.
        """
        room = self.settings.jaeger_max_traces
        if traces > room:
            raise StackError(
                f"the run would make {traces:.0f} traces, and Jaeger keeps {room} (JAEGER_MAX_TRACES): lower "
                f"RATE or SECONDS, or `make up JAEGER_MAX_TRACES={math.ceil(traces / 1000) * 1000}` and again"
            )

    def restart(self, part: str, variables: Mapping[str, str]) -> None:
        """Restarts a part with these variables overriding its own, until `put_back`."""
        if part not in self._restarted:
            self._restarted.append(part)
        # With several workers each has its own ledger, and only one of them answers.
        usual = self._variables if part in SERVICE_NAMES else {}
        alone = {"WEB_CONCURRENCY": "1"} if part == STOREFRONT.name else {}
        self.runtime.restart(part, {**usual, **alone, **variables})

    def put_back(self) -> None:
        """Restarts the changed parts as `make up` would start them, each even if another one fails.

        Raises:
            StackError: a part does not become healthy.
        """
        with ExitStack() as restarts:
            for part in self._restarted:
                restarts.callback(self.runtime.restart, part, {})
            self._restarted.clear()

    def variables_of_services(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Returns the environment that a service reads when it is restarted with these variables."""
        own = {
            name: value
            for name, value in service_variables(self.settings).items()
            if is_service_variable(name)
        }
        return {**own, **self._variables, **variables}

    def config_of_services(self, variables: Mapping[str, str]) -> TelemetryConfig:
        """Returns the library's configuration for that environment.

        Raises:
            ConfigurationError: a value is malformed.
        """
        known = TelemetryConfig.variables()
        values = self.variables_of_services(variables)
        return TelemetryConfig(**{name: value for name, value in values.items() if name in known and value})

    def shown_configuration(self, *variables: Mapping[str, str]) -> dict[str, str]:
        """Returns the variables that affect a run's result, for its report, without secrets."""
        everything = self.variables_of_services({})
        for more in variables:
            everything |= more
        return {
            name: value
            for name, value in sorted(everything.items())
            if name.startswith(_RELEVANT) and "HEADERS" not in name
        }


def _only_one(settings: StackSettings) -> FileLock:
    """Locks the stack: two experiments would restart each other's services.

    The kernel releases the lock if this process dies.
    """
    folder = settings.stack_run_dir.absolute()
    lock = FileLock(folder.with_name(f"{folder.name}.lab.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StackError(
            "another outage, tune or sampling is using this stack: wait until it ends, or stop it with Ctrl-C"
        ) from None
    return lock
