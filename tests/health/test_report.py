"""The model of the health report, as those who read it use it."""

import pytest

from telemetry.client import TelemetryClient
from telemetry.config import TelemetryConfig
from telemetry.health.report import LedgerHealth, read_report


def test_report_reads_back_as_it_was_written() -> None:
    """What a service answers and what a reader validates are one model."""
    with TelemetryClient(TelemetryConfig(service_name="read", traces_exporter="none")) as client:
        health = client.health()
    assert read_report(health.model_dump_json()) == health


def test_reader_takes_a_later_report_and_refuses_what_is_none() -> None:
    """A field that a later version adds is left out; a page of somebody else's is an error."""
    later = '{"status": "healthy", "ledger": {"ended": 1, "delivered": 1, "new": 0}, "new": {}}'
    assert read_report(later).ledger.delivered == 1
    for other in (
        "<html>",
        "[]",
        "{}",
        '{"status": "well"}',
        '{"status": "healthy", "ledger": {"ended": "x"}}',
    ):
        with pytest.raises(ValueError, match=r"^no health report( \(\w+(\.\w+)?\))?: [^\n]+$"):
            read_report(other)


def test_identity_is_the_ledgers() -> None:
    """Each term counts, and none may be negative."""
    assert LedgerHealth().is_balanced
    settled = {"delivered": 1, "rejected": 2, "dropped": {"queue_full": 3}, "in_memory": 4, "spooled": 5}
    assert LedgerHealth(ended=10, adopted=5, **settled).is_balanced
    for term in ("ended", "adopted", "delivered", "rejected", "in_memory", "spooled"):
        ledger = LedgerHealth(ended=10, adopted=5, **settled)
        assert not ledger.model_copy(update={term: getattr(ledger, term) + 1}).is_balanced
    assert not LedgerHealth(ended=0, delivered=1, in_memory=-1).is_balanced
