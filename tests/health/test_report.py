"""The health report's model as its readers use it."""

import json

import pytest

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.health.report import LedgerHealth, TelemetryHealth, read_report


def test_report_reads_back_as_it_was_written() -> None:
    """Services and readers share one model."""
    with TelemetryClient(TelemetryConfig(service_name="read", traces_exporter="none")) as client:
        health = client.health()
    assert read_report(health.model_dump_json()) == health


def test_reader_takes_a_later_report_and_refuses_what_is_none() -> None:
    """Fields of a later version are ignored; missing fields are not read as zero."""
    later = {**TelemetryHealth(status="healthy").model_dump(), "new": {}}
    later["ledger"] = {**later["ledger"], "delivered": 1, "new": 0}
    assert read_report(json.dumps(later)).ledger.delivered == 1
    wrong_type = {**later, "ledger": {**later["ledger"], "ended": "x"}}
    no_term = {**later, "ledger": {"ended": 1}}
    strangers = ("<html>", "[]", "{}", '{"status": "well"}', '{"status": "healthy"}')
    for other in (*strangers, json.dumps(wrong_type), json.dumps(no_term)):
        with pytest.raises(ValueError, match=r"^not a health report[^\n]+$"):
            read_report(other)


def test_identity_is_the_ledgers() -> None:
    """Each term counts, and none may be negative."""
    assert LedgerHealth().is_balanced
    accounted = {"delivered": 1, "rejected": 2, "dropped": {"queue_full": 3}, "in_memory": 4, "spooled": 5}
    assert LedgerHealth(ended=10, adopted=5, **accounted).is_balanced
    for term in ("ended", "adopted", "delivered", "rejected", "in_memory", "spooled"):
        ledger = LedgerHealth(ended=10, adopted=5, **accounted)
        assert not ledger.model_copy(update={term: getattr(ledger, term) + 1}).is_balanced
    assert not LedgerHealth(ended=0, delivered=1, in_memory=-1).is_balanced
