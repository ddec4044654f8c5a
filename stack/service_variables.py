"""The variables that the demo services read: their names, their values, and a check."""

import os
import subprocess
import sys

from dotenv import dotenv_values

from service.settings import DEMO_API_KEY
from stack.errors import StackError
from stack.settings import ENV_FILE, ROOT, StackSettings

_PREFIXES = ("OTEL_", "TELEMETRY_", "SHOP_")
_NAMES = (
    *("ENVIRONMENT", "SERVICE_NAME", "SERVICE_VERSION", "ENABLE_PROMETHEUS"),
    *("WEB_CONCURRENCY", "PROMETHEUS_MULTIPROC_DIR", "INVENTORY_URL"),
)
_SET_BY_THE_STACK = frozenset(
    {
        "OTEL_SERVICE_NAME",
        "SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "WEB_CONCURRENCY",
        "PROMETHEUS_MULTIPROC_DIR",
        "TELEMETRY_SPOOL_DIR",
        "INVENTORY_URL",
    }
)
"""The stack decides where spans go and under which name, not the shell that starts it."""
API_KEY = "SHOP_API_KEY"
"""The variable of the key without which the services accept no writes."""
_CHECK = "from telemetry.config import TelemetryConfig; TelemetryConfig()"


def is_service_variable(name: str) -> bool:
    """Returns whether the services read a variable of this name."""
    return (name.startswith(_PREFIXES) and name != "TELEMETRY_ENV") or name in _NAMES


def service_variables(settings: StackSettings) -> dict[str, str]:
    """Returns the services' variables: `.env`, overridden by `TELEMETRY_ENV`, overridden by the environment.

    Raises:
        StackError: the file named by `TELEMETRY_ENV` sets a variable that it may not set.
    """
    in_file = {
        name: value
        for name, value in dotenv_values(ENV_FILE).items()
        if value is not None and is_service_variable(name)
    }
    in_file |= recommended_variables(settings)
    overriding = {
        name: value
        for name, value in os.environ.items()
        if is_service_variable(name) and name not in _SET_BY_THE_STACK
    }
    return {**in_file, **overriding}


def api_key(settings: StackSettings) -> str:
    """Returns the key that the services ask of those who write.

    Raises:
        StackError: the file named by `TELEMETRY_ENV` sets a variable that it may not set.
    """
    key = service_variables(settings).get(API_KEY)
    return key or DEMO_API_KEY  # empty counts as unset, as in the services


def authorization(settings: StackSettings) -> dict[str, str]:
    """Returns the header with which the services accept writes; raises as `api_key` does."""
    return {"Authorization": f"Bearer {api_key(settings)}"}


def recommended_variables(settings: StackSettings) -> dict[str, str]:
    """Returns the variables in the file that `TELEMETRY_ENV` names, if any.

    Raises:
        StackError: the file sets a variable that the services do not read, or that the stack itself sets.
    """
    if settings.telemetry_env is None:
        return {}
    values = {name: value or "" for name, value in dotenv_values(settings.telemetry_env).items()}
    for name in values:
        if not is_service_variable(name) or name in _SET_BY_THE_STACK:
            raise StackError(
                f"{settings.telemetry_env} sets {name}, which is no setting of the services' telemetry"
            )
    return values


def check_service_variables(settings: StackSettings) -> None:
    """Checks the services' variables by loading the library's configuration in a separate process.

    Raises:
        StackError: a value is malformed; the message includes the library's.
    """
    foreign = {name: value for name, value in os.environ.items() if not is_service_variable(name)}
    done = subprocess.run(
        [sys.executable, "-c", _CHECK],
        cwd=ROOT,
        env={**foreign, **service_variables(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"the services cannot start: {done.stderr.strip().splitlines()[-1]}")
