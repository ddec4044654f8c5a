"""Messages about unusable settings, and about settings that are legal but probably mistakes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from .endpoint import (
    OTLP_METRICS_PATH,
    OTLP_TRACES_PATH,
    port_of_other_protocol,
    without_possible_secrets,
    without_secrets,
)
from .presets import PRESETS
from .server import announced_workers
from .timeout import TIMEOUT_OF_METRICS, TIMEOUTS_OF_TRACES, in_seconds

Line = tuple[str, *tuple[object, ...]]
"""A log format and its arguments."""

_ADDRESSES = frozenset({"endpoint", "traces_endpoint", "metrics_endpoint"})
_SECRETS = frozenset({"headers", "metrics_headers"})
_OF_METRICS = "OTEL_EXPORTER_OTLP_METRICS_"
_TEMPORALITY = f"{_OF_METRICS}TEMPORALITY_PREFERENCE"
_UNREAD = (
    "%s changes nothing: of the METRICS_ forms _ENDPOINT, _HEADERS and _INSECURE are read, "
    "the rest is as for traces"
)
_CUMULATIVE = (
    f"{_TEMPORALITY}=%s changes nothing: pushed metrics are cumulative, "
    "so that a push that fails loses nothing"
)
_BOOLEANS = (
    "OTEL_SDK_DISABLED",
    *(f"OTEL_EXPORTER_OTLP_{signal}INSECURE" for signal in ("", "TRACES_", "METRICS_")),
)
_NO_BOOLEAN = "%s=%r counts as false: of OpenTelemetry's own variables only `true`, in any case, is true"
_IN_MILLISECONDS = (
    "%s=%s is taken as milliseconds, as the specification and other languages mean it: %g s; "
    "Python's exporters take seconds, so for Python alone write %s"
)
_DOUBLED = (
    "spans go to %s, since a signal's path is added to the general endpoint, which has %s already: leave it "
    "off, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, to which nothing is added"
)
_WORKERS = (
    "%d workers answer for one port, each with metrics of its own: "
    "set PROMETHEUS_MULTIPROC_DIR to a folder for /metrics to show all of them at once"
)


def explain(
    details: ErrorDetails,
    *,
    variables: Mapping[str, Iterable[str]],
    descriptions: Mapping[str, str],
    arguments: Mapping[str, Any],
    environment: Mapping[str, str],
) -> str:
    """Explains an unusable value in a sentence: variable (or argument), value, rule; secrets are left out.

    Args:
        details: the error, as pydantic reports it.
        variables: each field's variables, in order of precedence.
        descriptions: each field's description.
        arguments: the given keyword arguments.
        environment: the process's variables.
    """
    key = str(details["loc"][0]) if details["loc"] else ""
    field = next((each for each, names in variables.items() if key in names), key)
    message = details["msg"].removeprefix("Value error, ")
    if not field:
        return message
    if field not in variables:
        return f"{field} is not a setting of TelemetryConfig; see its fields for the names"
    argument = next((name for name in (field, *variables[field]) if name in arguments), None)
    # A subclass's field may have a variable named like the field itself.
    variable = next((name for name in (*variables[field], field) if environment.get(name)), None)
    source, value = (
        (variable, environment[variable])
        if variable and argument is None
        else (argument or field, arguments.get(argument or field))
    )
    if field in _ADDRESSES:
        value = without_possible_secrets(str(value))
    shown = "" if field in _SECRETS else f"={value!r}"
    what = descriptions.get(field, "").replace("`", "")
    return f"{source}{shown} cannot be used: {message}" + (
        f" ({what[:1].lower()}{what[1:].removesuffix('.')})" if what else ""
    )


def unknown_variables(environment: Mapping[str, str], known: Iterable[str]) -> Iterator[Line]:
    """Reports variables that look like the library's but are not: misspelt, or of another version."""
    for name in sorted(environment.keys() - set(known)):
        if name.startswith("TELEMETRY_"):
            yield "%s is not a setting of this version and changes nothing", name


def unread_forms_of_metrics(environment: Mapping[str, str], known: Iterable[str]) -> Iterator[Line]:
    """Reports the specification's variables for pushed metrics that this library does not read."""
    for name in sorted(environment.keys() - set(known)):
        if name.startswith(_OF_METRICS) and name != _TEMPORALITY and environment[name]:
            yield (
                _UNREAD,
                name,
            )


def ignored_temporality(environment: Mapping[str, str]) -> Iterator[Line]:
    """Reports a temporality that pushed metrics do not support."""
    temporality = environment.get(_TEMPORALITY, "")
    if temporality.lower() not in {"", "cumulative"}:
        yield (
            _CUMULATIVE,
            temporality,
        )


def unknown_environment(environment: str) -> Iterator[Line]:
    """Reports an `ENVIRONMENT` without a preset of its own."""
    if environment not in PRESETS:
        yield "ENVIRONMENT=%s is none of %s: the production preset is used", environment, ", ".join(PRESETS)


def other_protocol(endpoint: str, protocol: str) -> Iterator[Line]:
    """Reports a port that is usually the other protocol's."""
    port = port_of_other_protocol(endpoint, protocol)
    if port is not None:
        yield (
            "%d is usually the port of the other OTLP protocol, but the protocol is %s (endpoint %s)",
            port,
            protocol,
            without_secrets(endpoint),
        )


def no_booleans(environment: Mapping[str, str]) -> Iterator[Line]:
    """Reports standard Booleans that are neither true nor false, and so count as false (specification)."""
    for name in _BOOLEANS:
        if environment.get(name, "").strip().lower() not in {"", "true", "false"}:
            yield _NO_BOOLEAN, name, environment[name]


def timeout_in_milliseconds(environment: Mapping[str, str]) -> Iterator[Line]:
    """Reports a timeout that is taken as milliseconds."""
    of_traces = next(filter(environment.get, TIMEOUTS_OF_TRACES), "")
    for name in (of_traces, TIMEOUT_OF_METRICS):
        seconds = in_seconds(environment.get(name, ""))
        if isinstance(seconds, float):
            yield _IN_MILLISECONDS, name, environment[name], seconds, f"{seconds:g}"


def doubled_path(endpoint: str) -> Iterator[Line]:
    """Reports a signal's path twice in its endpoint: the general one has it already."""
    shown = without_secrets(endpoint)
    for path in (OTLP_TRACES_PATH, OTLP_METRICS_PATH):
        if path in shown.removesuffix(OTLP_TRACES_PATH):
            yield _DOUBLED, shown, path


def workers_without_folder(environment: Mapping[str, str], arguments: list[str]) -> Iterator[Line]:
    """Reports several workers, each of which would show only its own metrics."""
    workers = announced_workers(environment, arguments)
    if workers > 1:
        yield (
            _WORKERS,
            workers,
        )
