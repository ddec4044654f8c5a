"""The settings of the request side: how their lists are read, and what is said of bad ones."""

import pytest

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError

HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS"


def test_lists_of_names_and_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Separated by commas, as OpenTelemetry's own variables are."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "database, http/dup")
    monkeypatch.setenv("TELEMETRY_REDACTED_QUERY", "token, Api_Key")
    monkeypatch.setenv(f"{HEADERS}_SERVER_REQUEST", "x-tenant, Accept.*")
    monkeypatch.setenv(f"{HEADERS}_SERVER_RESPONSE", ".*")
    monkeypatch.setenv(f"{HEADERS}_SANITIZE_FIELDS", ".*session.*,set-cookie")
    config = TelemetryConfig()
    assert config.semconv_opt_in == ("database", "http/dup")
    assert config.redacted_query == ("token", "Api_Key")
    assert config.captured_request_headers == ("x-tenant", "Accept.*")
    assert config.captured_response_headers == (".*",)
    assert config.sanitized_headers == (".*session.*", "set-cookie")


def test_buckets_are_numbers_in_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default reaches from a millisecond to ten seconds."""
    bounds = TelemetryConfig().latency_buckets_ms
    assert (bounds[0], bounds[-1]) == (1, 10_000)
    monkeypatch.setenv("TELEMETRY_LATENCY_BUCKETS_MS", "0.5, 5,50")
    assert TelemetryConfig().latency_buckets_ms == (0.5, 5.0, 50.0)
    assert TelemetryConfig(latency_buckets_ms=(1, 2)).latency_buckets_ms == (1.0, 2.0)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TELEMETRY_INSTRUMENTATION", "official", "'native' or 'contrib'"),
        ("TELEMETRY_HTTP_METRICS", "none", "'app', 'standard' or 'both'"),
        ("TELEMETRY_MAX_LABEL_SETS", "0", "greater than or equal to 1"),
        ("TELEMETRY_LATENCY_BUCKETS_MS", "5,5,50", "each above the one before"),
        ("TELEMETRY_LATENCY_BUCKETS_MS", "0,5", "positive"),
        ("TELEMETRY_LATENCY_BUCKETS_MS", ",", "positive"),
        ("TELEMETRY_LATENCY_BUCKETS_MS", "5,inf", "finite"),
        ("TELEMETRY_LATENCY_BUCKETS_MS", "5,fast", "valid number"),
        (f"{HEADERS}_SERVER_REQUEST", "x-(", "'x-(' is no name and no regular expression"),
        (f"{HEADERS}_SERVER_RESPONSE", "x-a{1,2}b(", "a comma separates two of them"),
        (f"{HEADERS}_SANITIZE_FIELDS", "*", "'*' is no name and no regular expression"),
    ],
)
def test_malformed_value_names_variable_value_and_rule(
    variable: str, value: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start-up stops with a message one can act on."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        TelemetryConfig()
    message = str(caught.value)
    assert f"{variable}={value!r} cannot be used" in message
    assert rule in message
