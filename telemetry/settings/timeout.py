"""The timeout of exports, whose variables have two units.

The specification means milliseconds. OpenTelemetry's exporters for Python take seconds, as this library does.
"""

TIMEOUTS_OF_TRACES = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"
"""The variables that are read for spans, from the highest precedence down."""
TIMEOUT_OF_METRICS = "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"
TIMEOUTS = frozenset({*TIMEOUTS_OF_TRACES, TIMEOUT_OF_METRICS})
DEFAULT_SECONDS = 1.0
LONGEST_SECONDS = 300


def in_seconds(value: object) -> object:
    """Returns a variable's value; of milliseconds, the seconds.

    A number of seconds above `LONGEST_SECONDS` would be refused. In an environment that services in several
    languages share, it is the specification's `10000`, which only one of them could avoid.
    """
    try:
        number = float(str(value))
    except ValueError:
        return value
    return number / 1000 if LONGEST_SECONDS < number <= LONGEST_SECONDS * 1000 else value
