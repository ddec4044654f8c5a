"""HTTP statuses: which are retried and which are permanent."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.collector import Collector, Reply
from support.fault_rig import (
    FIRST_BACKOFF_SECONDS,
    MakeRig,
    assert_all_delivered,
    assert_backed_off,
    assert_dropped_and_told_once,
    assert_held,
    failing,
)
from support.waiting import Until


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable_status_is_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """All are retried with the usual waits; all but 429 count against the breaker."""
    http_collector.script = failing(2, Reply(status=status))
    rig = make_rig(http_collector, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert len(http_collector.requests) == 3
    assert_backed_off(rig)
    assert rig.opened == (0 if status == 429 else 1)
    assert_all_delivered(rig, http_collector)


@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_and_the_batch_held(
    status: int, is_date: bool, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """Both forms of the header hold all batches, even for longer than an attempt's own deadline."""
    # A date has whole seconds, so this one is one to two seconds away.
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    value = format_datetime(at, usegmt=True) if is_date else "1"
    http_collector.script = failing(1, Reply(status=status, headers={"Retry-After": value}))
    rig = make_rig(http_collector, max_export_batch_size=1, exporter_timeout_seconds=0.9)
    started = time.monotonic()
    remaining = (at - datetime.now(UTC)).total_seconds()
    assert_held(rig, http_collector, until, at_least_seconds=FIRST_BACKOFF_SECONDS if is_date else 1)
    if is_date:
        # Allows a millisecond between the two clocks.
        assert min(request.at for request in http_collector.requests[1:]) > started + remaining - 0.001
    assert rig.opened == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 500, 501])
def test_permanent_status_is_never_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans are dropped and counted, and the body's reason is logged once; a single span cannot be halved."""
    http_collector.script = failing(99, Reply(status=status))
    assert_dropped_and_told_once(
        make_rig(http_collector), http_collector, caplog, said=f"HTTP {status}: Reason on purpose"
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_that_names_where_to(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A redirect is never followed and never counts as success."""
    elsewhere = f"{http_collector.endpoint}/elsewhere"
    http_collector.script = failing(99, Reply(status=status, headers={"Location": elsewhere}))
    assert_dropped_and_told_once(make_rig(http_collector), http_collector, caplog, said=elsewhere)
