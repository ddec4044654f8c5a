"""The stack as an experiment uses it: parts restarted with settings of its own, then put back."""

import math
from collections.abc import Mapping
from contextlib import ExitStack

from filelock import FileLock, Timeout
from pydantic import AliasChoices
from rich.console import Console

from stack.current import current_stack
from stack.errors import StackError
from stack.runtime import PartState, Runtime
from stack.service_variables import is_service_variable, service_variables
from stack.services import SERVICE_NAMES, STOREFRONT
from stack.settings import StackSettings
from telemetry.config import TelemetryConfig

STARTED_IN_ORDER = tuple(reversed(SERVICE_NAMES))
"""The inventory first: the storefront calls it."""
_TELLING = ("OTEL_", "TELEMETRY_", "ENVIRONMENT", "COLLECTOR_", "TAIL_")
"""What of a configuration decides how a run comes out."""


class Lab:
    """The stack, up; for one thread.

    Args:
        settings: of the stack.
        runtime: where it runs.
        variables: over the services' own in every run, under what an experiment sets itself.
    """

    def __init__(
        self, settings: StackSettings, runtime: Runtime, variables: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self._variables = dict(variables or {})
        self._restarted: list[str] = []
        self._lock: FileLock | None = None
        """Held as long as the lab lives."""

    @classmethod
    def open(cls, console: Console) -> "Lab":
        """The stack of this checkout, started if it is not up.

        Raises:
            StackError: it cannot be started, it samples in the Collector, or another experiment runs on it.
        """
        settings, runtime, reason = current_stack(console)
        lock = _only_one(settings)
        if any(part.state is not PartState.UP for part in runtime.status()):
            settings, runtime, reason = current_stack(console, to_start=True)
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
        """Whether Jaeger can keep so many traces, so that all of them can be asked for.

        Raises:
            StackError: it cannot.
        """
        room = self.settings.jaeger_max_traces
        if traces > room:
            raise StackError(
                f"the run would make {traces:.0f} traces, and Jaeger keeps {room} (JAEGER_MAX_TRACES): lower "
                f"RATE or SECONDS, or `make up JAEGER_MAX_TRACES={math.ceil(traces / 1000) * 1000}` and again"
            )

    def restart(self, part: str, variables: Mapping[str, str]) -> None:
        """Restarts a part with these variables over its own, until `put_back`."""
        if part not in self._restarted:
            self._restarted.append(part)
        # Several workers have a ledger each, and only one of them answers.
        usual = self._variables if part in SERVICE_NAMES else {}
        alone = {"WEB_CONCURRENCY": "1"} if part == STOREFRONT.name else {}
        self.runtime.restart(part, {**usual, **alone, **variables})

    def put_back(self) -> None:
        """Restarts what was restarted, as `make up` would start it; one that fails keeps none from its turn.

        Raises:
            StackError: a part does not become well.
        """
        with ExitStack() as restarts:
            for part in self._restarted:
                restarts.callback(self.runtime.restart, part, {})
            self._restarted.clear()

    def variables_of_services(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What a service reads when it is restarted with these variables."""
        own = {
            name: value
            for name, value in service_variables(self.settings).items()
            if is_service_variable(name)
        }
        return {**own, **self._variables, **variables}

    def config_of_services(self, variables: Mapping[str, str]) -> TelemetryConfig:
        """The library's own reading of it.

        Raises:
            ConfigurationError: a value is malformed.
        """
        known = {
            str(choice)
            for field in TelemetryConfig.model_fields.values()
            if isinstance(field.validation_alias, AliasChoices)
            for choice in field.validation_alias.choices
        }
        values = self.variables_of_services(variables)
        return TelemetryConfig(**{name: value for name, value in values.items() if name in known and value})

    def shown_configuration(self, *variables: Mapping[str, str]) -> dict[str, str]:
        """The variables that decide how a run comes out, for its report; secrets left out."""
        everything = self.variables_of_services({})
        for more in variables:
            everything |= more
        return {
            name: value
            for name, value in sorted(everything.items())
            if name.startswith(_TELLING) and "HEADERS" not in name
        }


def _only_one(settings: StackSettings) -> FileLock:
    """Two experiments would restart each other's services; freed by the kernel if this process dies."""
    folder = settings.stack_run_dir.absolute()
    lock = FileLock(folder.with_name(f"{folder.name}.lab.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StackError(
            "another outage, tune or sampling runs on this stack: wait for its end, or end it with Ctrl-C"
        ) from None
    return lock
