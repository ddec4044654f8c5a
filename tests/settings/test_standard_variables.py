"""Variables of the OpenTelemetry specification whose values mean something of their own."""

import logging

import pytest

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is logged once in a process."""
    monkeypatch.setattr("telemetry.config._warned", set())


def standard_booleans() -> dict[str, str]:
    """Returns the field of each standard variable that is a Boolean."""
    fields = TelemetryConfig.model_fields
    return {
        variable: field
        for variable, field in TelemetryConfig.variables().items()
        if variable.startswith("OTEL_") and "bool" in str(fields[field].annotation)
    }


@pytest.mark.parametrize("variable", standard_booleans())
@pytest.mark.parametrize(
    ("value", "expected", "is_told"),
    [
        ("true", True, False),
        ("TRUE", True, False),
        ("True ", True, False),
        ("false", False, False),
        ("False", False, False),
        ("1", False, True),
        ("yes", False, True),
        ("0", False, True),
        ("nonsense", False, True),
    ],
)
def test_boolean_is_true_for_true_alone(
    variable: str,
    value: str,
    expected: bool,
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Everything else is false, and told once unless it says so (specification, "Boolean")."""
    monkeypatch.setenv(variable, value)
    for _ in range(2):
        assert getattr(TelemetryConfig(), standard_booleans()[variable]) is expected
    lines = [f"{variable}={value!r} counts as false"] if is_told else []
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == lines


def test_empty_boolean_is_unset(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As every empty variable."""
    for variable in standard_booleans():
        monkeypatch.setenv(variable, "")
    assert TelemetryConfig().sdk_disabled is False
    assert TelemetryConfig().insecure is None
    assert not caplog.records


@pytest.mark.parametrize("value", ["1", "yes", "on", "true"])
def test_booleans_of_the_library_take_more(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no standard variables."""
    monkeypatch.setenv("TELEMETRY_TRACE_RESPONSE", value)
    assert TelemetryConfig().trace_response is True


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"])
@pytest.mark.parametrize(
    ("value", "seconds", "told"),
    [("10", 10, None), ("300", 300, None), ("10000", 10, "write 10"), ("1500", 1.5, "write 1.5")],
)
def test_timeout_above_300_is_taken_as_milliseconds(
    variable: str,
    value: str,
    seconds: float,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As services in other languages take the same variable; what to write is told once."""
    monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert TelemetryConfig().exporter_timeout_seconds == seconds
    assert len(caplog.records) == (told is not None)
    for record in caplog.records:
        assert record.getMessage().startswith(f"{variable}={value} is taken as milliseconds")
        assert str(told) in record.getMessage()


def test_timeout_of_traces_alone_counts_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The general one, which it overrides, is not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2")
    assert TelemetryConfig().exporter_timeout_seconds == 2
    assert not caplog.records


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "300001", "soon"])
def test_timeout_that_has_no_meaning_stops_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as seconds nor as milliseconds."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", value)
    with pytest.raises(ConfigurationError, match=f"OTEL_EXPORTER_OTLP_TIMEOUT='{value}' cannot be used"):
        TelemetryConfig()


def test_argument_is_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name says so."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
    assert TelemetryConfig(exporter_timeout_seconds=7).exporter_timeout_seconds == 7
    with pytest.raises(ConfigurationError, match="exporter_timeout_seconds=10000 cannot be used"):
        TelemetryConfig(exporter_timeout_seconds=10_000)


@pytest.mark.parametrize("path", ["/v1/traces", "/otlp/v1/metrics"])
def test_signals_path_in_the_general_endpoint_is_suspected(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The specification adds it again; in an endpoint of one signal it is right."""
    TelemetryConfig(protocol="http/protobuf", traces_endpoint=f"http://h{path}").log_suspicions()
    TelemetryConfig(protocol="http/protobuf", endpoint="http://h/otlp").log_suspicions()
    assert not caplog.records
    TelemetryConfig(protocol="http/protobuf", endpoint=f"http://u:p@h{path}?token=x").log_suspicions()
    (record,) = caplog.records
    assert f"spans go to http://h{path}/v1/traces" in record.getMessage()
