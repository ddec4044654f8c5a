"""The sections that breaker, spool and worker take unchanged."""

from pathlib import Path

from telemetry.config import TelemetryConfig
from telemetry.export.breaker import BreakerSettings
from telemetry.export.pipeline import ExportPipeline
from telemetry.settings.batching import Batching


def test_sections_are_made_of_the_flat_settings(tmp_path: Path) -> None:
    """Each keyword reaches the section's object."""
    config = TelemetryConfig(
        max_export_batch_size=7,
        schedule_delay_ms=250,
        breaker_failure_threshold=9,
        breaker_probes=2,
        spool_dir=tmp_path,
        spool_max_bytes=2**20,
        spool_fsync="never",
    )
    assert config.batching == Batching(size=7, delay_seconds=0.25)
    assert (config.breaker.failure_threshold, config.breaker.probes) == (9, 2)
    assert config.spool is not None
    assert (config.spool.max_bytes, config.spool.fsync) == (2**20, "never")
    assert config.spool.folder.parent == tmp_path
    pipeline = ExportPipeline(config)
    assert pipeline.breaker.settings == config.breaker
    assert pipeline.batching == config.batching


def test_defaults_of_the_breaker_stand_once() -> None:
    """Only the lease differs, since it depends on an attempt's deadline."""
    settings = TelemetryConfig().breaker
    assert settings == BreakerSettings(lease_seconds=settings.lease_seconds)


def test_nothing_is_spooled_where_nothing_is_exported(tmp_path: Path) -> None:
    """A spool folder alone does not enable the spool."""
    assert TelemetryConfig().spool is None
    assert TelemetryConfig(spool_dir=tmp_path, traces_exporter="console").spool is None
    assert TelemetryConfig(spool_dir=tmp_path, sdk_disabled=True).spool is None
