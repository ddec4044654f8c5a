"""Settings of pushed metrics: their own forms, or the general ones, never those of traces."""

from pathlib import Path

import pytest
from support.certificates import make_certificate

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError

PREFIX = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("given", "traces", "metrics"),
    [
        ({}, 1.0, 1.0),
        ({"TIMEOUT": "3"}, 3.0, 3.0),
        ({"TIMEOUT": "3", "METRICS_TIMEOUT": "7"}, 3.0, 7.0),
        ({"TIMEOUT": "3", "TRACES_TIMEOUT": "5"}, 5.0, 3.0),
        ({"TRACES_TIMEOUT": "5"}, 5.0, 1.0),
        ({"TRACES_TIMEOUT": "5", "TIMEOUT": "4000"}, 5.0, 4.0),
        ({"METRICS_TIMEOUT": "7000"}, 1.0, 7.0),
    ],
)
def test_timeout(
    given: dict[str, str], traces: float, metrics: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds, or in the specification's milliseconds."""
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    config = TelemetryConfig()
    assert (config.exporter_timeout_seconds, config.push_timeout_seconds) == (traces, metrics)


@pytest.mark.parametrize(
    ("given", "traces", "metrics"),
    [
        ({}, False, False),
        ({"COMPRESSION": "gzip"}, True, True),
        ({"COMPRESSION": "gzip", "METRICS_COMPRESSION": "none"}, True, False),
        ({"TRACES_COMPRESSION": "gzip"}, True, False),
        ({"METRICS_COMPRESSION": "gzip"}, False, True),
    ],
)
def test_compression(
    given: dict[str, str], *, traces: bool, metrics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the timeout."""
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    config = TelemetryConfig()
    assert (config.traces_destination.is_compressed, config.metrics_destination.is_compressed) == (
        traces,
        metrics,
    )


def test_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of traces alone verify no push, and are not shown to another server."""
    general, general_key = make_certificate(tmp_path, "general", days=2)
    own, own_key = make_certificate(tmp_path, "own", days=2)

    def of_metrics() -> tuple[str | None, ...]:
        to = TelemetryConfig().metrics_destination
        return to.certificate, to.client_certificate, to.client_key

    kinds = {"CERTIFICATE": general, "CLIENT_CERTIFICATE": general, "CLIENT_KEY": general_key}
    for kind, file in kinds.items():
        monkeypatch.setenv(f"{PREFIX}TRACES_{kind}", str(file))
    assert of_metrics() == (None, None, None)
    for kind, file in kinds.items():
        monkeypatch.setenv(PREFIX + kind, str(file))
    assert of_metrics() == (str(general), str(general), str(general_key))
    for kind, file in {"CERTIFICATE": own, "CLIENT_CERTIFICATE": own, "CLIENT_KEY": own_key}.items():
        monkeypatch.setenv(f"{PREFIX}METRICS_{kind}", str(file))
    assert of_metrics() == (str(own), str(own), str(own_key))
    assert TelemetryConfig().traces_destination.certificate == str(general)


def test_files_of_metrics_are_checked_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By their own variables' names."""
    monkeypatch.setenv(f"{PREFIX}METRICS_CERTIFICATE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match=r"METRICS_CERTIFICATE='.*missing.pem' cannot be used"):
        TelemetryConfig()
    monkeypatch.delenv(f"{PREFIX}METRICS_CERTIFICATE")
    certificate, _ = make_certificate(tmp_path, "own", days=2)
    monkeypatch.setenv(f"{PREFIX}METRICS_CLIENT_CERTIFICATE", str(certificate))
    with pytest.raises(ConfigurationError, match="mTLS needs both"):
        TelemetryConfig()
