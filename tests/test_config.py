"""TelemetryConfig: precedence, presets and what it says of bad values."""

import logging
from pathlib import Path

import pytest

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError
from telemetry.settings.presets import PRESETS


def test_argument_wins_over_standard_variable_over_short_name_over_preset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each source of a value yields to the one above it."""
    assert TelemetryConfig().service_name == "unknown_service"
    monkeypatch.setenv("SERVICE_NAME", "short")
    assert TelemetryConfig().service_name == "short"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=resource,team=a%20b")
    assert TelemetryConfig().service_name == "resource"
    assert TelemetryConfig().resource_attributes["team"] == "a b"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "standard")
    assert TelemetryConfig().service_name == "standard"
    assert TelemetryConfig(service_name="argument").service_name == "argument"


@pytest.mark.parametrize("environment", sorted(PRESETS))
def test_environment_chooses_the_preset(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset fills in what neither an argument nor a variable sets."""
    config = TelemetryConfig(environment=environment)
    assert {name: getattr(config, name) for name in PRESETS[environment]} == PRESETS[environment]
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4096")
    assert TelemetryConfig(environment=environment).max_queue_size == 4096


def test_unknown_environment_takes_the_production_preset_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An environment of the user's own samples like production, and keeps its name."""
    config = TelemetryConfig(environment="qa")
    with caplog.at_level(logging.WARNING):
        config.log_suspicions()
    assert (config.environment, config.sampler_arg) == ("qa", 0.1)
    assert "ENVIRONMENT=qa" in caplog.text


def test_small_queue_alone_shrinks_the_presets_batch() -> None:
    """A queue smaller than the preset's batch is no error when the batch size was not asked for."""
    assert TelemetryConfig(max_queue_size=100).max_export_batch_size == 100


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification treats an empty value as unset."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "")
    assert TelemetryConfig().max_queue_size == 2048


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "valid integer"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "greater than or equal to 1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense", "entry 1 is not key=value"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "takes a share of traces, 0 to 1"),
        ("OTEL_TRACES_SAMPLER", "xray", "does not exist for Python"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "always_on"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "greater than 0"),
        ("TELEMETRY_BREAKER_FAILURE_RATE", "0", "greater than 0"),
        ("TELEMETRY_BREAKER_WINDOW_SECONDS", "inf", "finite"),
        ("OTEL_BSP_SCHEDULE_DELAY", "nan", "finite"),
        ("TELEMETRY_EXCLUDED_URLS", "metrics", "starts with /"),
        ("ENABLE_PROMETHEUS", "perhaps", "valid boolean"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "nowhere://", "http://localhost:4317"),
        ("TELEMETRY_SPOOL_MODE", "sometimes", "'outage' or 'always'"),
        ("TELEMETRY_SPOOL_FSYNC", "often", "'always', 'interval' or 'never'"),
        ("TELEMETRY_SPOOL_MAX_BYTES", "1", "greater than or equal to 65536"),
        ("TELEMETRY_SPOOL_MAX_AGE_SECONDS", "0", "greater than 0"),
        ("TELEMETRY_SPOOL_MIN_FREE", "1", "less than 1"),
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
    assert f"{variable}={value!r}" in message
    assert rule in message
    assert message.count("cannot be used") == 1


@pytest.mark.parametrize("kind", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_certificate_that_cannot_be_read_stops_the_start(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first span fails, and with the system's own reason."""
    variable = f"OTEL_EXPORTER_OTLP_{kind}"
    for file, reason in ((tmp_path / "none.pem", "No such file"), (tmp_path, "Is a directory")):
        monkeypatch.setenv(variable, str(file))
        with pytest.raises(ConfigurationError, match=f"{variable}='{file}' cannot be used: .*{reason}"):
            TelemetryConfig()


def test_file_that_is_no_certificate_stops_the_start(
    tmp_path: Path, certificates: dict[str, tuple[Path, Path]]
) -> None:
    """Alone, or as a pair that does not belong together; a right one is taken."""
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="no certificate in PEM form"):
        TelemetryConfig(certificate=str(nonsense))
    (one, key), (_, other_key) = certificates["valid"], certificates["expired"]
    for wrong in (nonsense, other_key):
        with pytest.raises(ConfigurationError, match="no pair in PEM form without a passphrase"):
            TelemetryConfig(client_certificate=str(one), client_key=str(wrong))
    config = TelemetryConfig(certificate=str(one), client_certificate=str(one), client_key=str(key))
    assert config.client_key == str(key)


def test_temporality_that_is_not_kept_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A standard variable that does nothing here must not do so in silence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    TelemetryConfig().log_suspicions()
    assert not caplog.text
    TelemetryConfig(metrics_exporter="otlp").log_suspicions()
    assert "TEMPORALITY_PREFERENCE=delta changes nothing" in caplog.text


def test_malformed_argument_is_named_as_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument's error names the argument, not a variable that it overrides."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4096")
    with pytest.raises(ConfigurationError, match=r"max_queue_size=0 cannot be used"):
        TelemetryConfig(max_queue_size=0)


def test_unknown_argument_is_refused() -> None:
    """A misspelt field is not ignored."""
    with pytest.raises(ConfigurationError, match="service_nam is not a setting"):
        TelemetryConfig(service_nam="shop")


def test_secrets_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers and credentials appear neither in errors nor in the shown endpoint."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization")
    with pytest.raises(ConfigurationError) as caught:
        TelemetryConfig()
    assert "authorization" not in str(caught.value).lower().replace("headers", "")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2")
    config = TelemetryConfig(
        endpoint="https://user:hunter2@collector:4318/?token=hunter2", protocol="http/protobuf"
    )
    assert config.headers == {"authorization": "hunter2"}
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigurationError) as refused:
        TelemetryConfig(endpoint="http://user:hunter2@collector:99999")
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in config.shown_endpoint
    assert config.shown_endpoint == "https://collector:4318/v1/traces"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenTelemetry's own variables are."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "httpx, sqlalchemy")
    monkeypatch.setenv("TELEMETRY_EXCLUDED_URLS", "/live,/internal/*")
    config = TelemetryConfig()
    assert config.disabled_instrumentations == ("httpx", "sqlalchemy")
    assert config.excluded_urls == ("/live", "/internal/*")


def test_batch_larger_than_queue_is_refused() -> None:
    """A batch that could never fill is named with both variables."""
    with pytest.raises(
        ConfigurationError, match=r"OTEL_BSP_MAX_EXPORT_BATCH_SIZE \(512\).*MAX_QUEUE_SIZE \(100\)"
    ):
        TelemetryConfig(max_queue_size=100, max_export_batch_size=512)


@pytest.mark.parametrize(
    ("settings", "endpoint", "is_insecure"),
    [
        ({}, "http://localhost:4317", True),
        ({"protocol": "http/protobuf"}, "http://localhost:4318/v1/traces", True),
        (
            {"protocol": "http/protobuf", "endpoint": "https://c:4318/base/"},
            "https://c:4318/base/v1/traces",
            False,
        ),
        ({"protocol": "http/protobuf", "traces_endpoint": "http://c/own"}, "http://c/own", True),
        ({"endpoint": "https://c:4317"}, "https://c:4317", False),
        ({"endpoint": "c:4317"}, "c:4317", False),
        ({"endpoint": "c:4317", "insecure": True}, "c:4317", True),
        ({"endpoint": "https://c:4317", "insecure": True}, "https://c:4317", False),
    ],
)
def test_endpoint_and_security_follow_the_specification(
    settings: dict[str, object], endpoint: str, is_insecure: bool
) -> None:
    """The path is added to a general HTTP endpoint only, and the scheme decides about TLS."""
    config = TelemetryConfig(**settings)
    assert (config.export_endpoint, config.is_insecure) == (endpoint, is_insecure)


def test_signal_variables_win_over_general_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The TRACES form of a variable is the more particular one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    assert TelemetryConfig().protocol == "http/protobuf"


@pytest.mark.parametrize(
    ("sampler", "ratio"),
    [
        ("always_on", 1.0),
        ("parentbased_always_off", 0.0),
        ("traceidratio", 0.25),
        ("parentbased_traceidratio", 0.25),
    ],
)
def test_sampling_ratio_is_the_samplers(sampler: str, ratio: float) -> None:
    """The ratio that health and metrics show is the one in effect."""
    assert TelemetryConfig(sampler=sampler, sampler_arg=0.25).sampling_ratio == ratio


def test_port_of_the_other_protocol_is_suspected(caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint of gRPC at 4318 is legal and almost always a mistake."""
    TelemetryConfig(endpoint="http://collector:4318").log_suspicions()
    assert "4318 is usually the port of the other OTLP protocol" in caplog.text


def test_unknown_variable_of_the_library_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt variable does not pass in silence."""
    monkeypatch.setenv("TELEMETRY_BRAEKER_PROBES", "2")
    TelemetryConfig()
    assert "TELEMETRY_BRAEKER_PROBES is not a setting" in caplog.text


def test_metrics_have_headers_of_their_own_or_the_general_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the traces' alone: they are a key to somewhere else."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=traces")
    assert TelemetryConfig().metrics_export_headers == {}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=general")
    assert TelemetryConfig().headers == {"key": "traces"}
    assert TelemetryConfig().metrics_export_headers == {"key": "general"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "key=metrics")
    assert TelemetryConfig().metrics_export_headers == {"key": "metrics"}
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
    assert TelemetryConfig(headers={"key": "argument"}).metrics_export_headers == {"key": "argument"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_HEADERS cannot be used: entry 1 is not"):
        TelemetryConfig()


@pytest.mark.parametrize(
    ("traces", "metrics", "are_insecure"),
    [
        ("http://t:4317", "https://m:4317", (True, False)),
        ("https://t:4317", "http://m:4317", (False, True)),
        ("http://t:4317", "m:4317", (True, False)),
        ("t:4317", "unix:/m", (True, True)),
    ],
)
def test_security_is_each_endpoints_own(
    traces: str, metrics: str, are_insecure: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither goes in the clear because the other does; nor does a flag of the traces count for metrics."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true")
    config = TelemetryConfig(traces_endpoint=traces, metrics_endpoint=metrics)
    assert (config.is_insecure, config.is_metrics_insecure) == are_insecure


@pytest.mark.parametrize(
    ("variables", "metrics"),
    [({"INSECURE": "true"}, True), ({"INSECURE": "true", "METRICS_INSECURE": "false"}, False)],
)
def test_general_flag_counts_for_metrics_unless_they_have_their_own(
    variables: dict[str, str], metrics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an address without a scheme."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    assert TelemetryConfig(metrics_endpoint="m:4317").is_metrics_insecure is metrics


def test_form_of_metrics_that_is_not_read_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When metrics are pushed; the forms that are read, and the one told apart, are not."""
    monkeypatch.setattr("telemetry.config._warned", set())
    for name, value in {"PROTOCOL": "grpc", "TIMEOUT": "1", "HEADERS": "a=b", "ENDPOINT": "http://m"}.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_METRICS_{name}", value)
    TelemetryConfig().log_suspicions()
    assert not caplog.text
    for _ in range(2):
        TelemetryConfig(metrics_exporter="otlp").log_suspicions()
    assert [record.args for record in caplog.records] == [("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",)]


@pytest.mark.parametrize("variable", ["ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT"])
def test_endpoint_without_a_scheme_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable that it came from."""
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{variable}", "collector:4318")
    with pytest.raises(
        ConfigurationError, match=f"^OTEL_EXPORTER_OTLP_{variable}='collector:4318' needs http"
    ):
        TelemetryConfig(protocol="http/protobuf")


@pytest.mark.parametrize("field", ["headers", "metrics_headers"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "hunter2\n"),
        ("authorization", "hunter2\r\nx: y"),
        ("authorization", "hunter2\x00"),
        ("authorization", "hunter2\x1b"),
        ("authorization", "hunter2\u20ac"),
        ("authori zation", "hunter2"),
        ("authorization:", "hunter2"),
        ("", "hunter2"),
    ],
)
def test_header_that_cannot_be_sent_stops_the_start(name: str, value: str, protocol: str, field: str) -> None:
    """Its key is named, its value is not."""
    with pytest.raises(ConfigurationError) as caught:
        TelemetryConfig(protocol=protocol, **{field: {name: value}})
    assert f"{name!r}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_header_has_the_rules_of_its_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPC takes ASCII, and bytes where a name ends in -bin; upper case is made lower, as ever."""
    for headers in ({"key-bin": "x"}, {"key": "\xe9"}, {"key!": "x"}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(headers))!r}"):
            TelemetryConfig(headers=headers)
        assert TelemetryConfig(protocol="http/protobuf", headers=headers).headers == headers
    assert TelemetryConfig(headers={"Authorization": "Bearer x"}).headers == {"Authorization": "Bearer x"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=hunter2%0A")
    with pytest.raises(
        ConfigurationError, match=r"^OTEL_EXPORTER_OTLP_HEADERS cannot be used: the value of 'key'"
    ):
        TelemetryConfig()


def test_folder_of_the_spool_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From when it is configured on, wherever the service goes afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for given, expected in {" spool ": tmp_path / "spool", "~/spool": tmp_path / "home" / "spool"}.items():
        monkeypatch.setenv("TELEMETRY_SPOOL_DIR", given)
        assert TelemetryConfig().spool_dir == expected
        assert TelemetryConfig(spool_dir=Path(given.strip())).spool_dir == expected
    monkeypatch.setenv("TELEMETRY_SPOOL_DIR", "  ")
    assert TelemetryConfig().spool_dir is None
    with pytest.raises(
        ConfigurationError, match="spool_dir='~nobody-here/x' cannot be used: the home directory"
    ):
        TelemetryConfig(spool_dir="~nobody-here/x")
