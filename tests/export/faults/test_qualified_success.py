"""Partial success, success with a warning, and answers that no Collector would give."""

import pytest
from support.collector import Collector, Reply
from support.fault_rig import MakeRig, assert_all_delivered, assert_ledger, lines
from support.otlp_answers import partial_success


@pytest.mark.parametrize(
    ("said", "rejected", "message"),
    [
        pytest.param(2, 2, "too old", id="a part"),
        pytest.param(99, 5, "too old", id="more than there were"),
        pytest.param(2, 2, "", id="without a word"),
    ],
)
def test_partial_success_is_counted_and_never_retried(
    said: int,
    rejected: int,
    message: str,
    make_rig: MakeRig,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rejected spans are counted and the reason logged; a flush returns False."""
    collector.script = lambda _: Reply(body=partial_success(said, message))
    rig = make_rig(collector, schedule_delay_ms=60_000)
    rig.end_spans(5)
    assert rig.pipeline.force_flush(10_000) is False
    assert_ledger(rig, delivered=5 - rejected, rejected=rejected)
    (line,) = lines(caplog)
    assert f"{said} of its spans were rejected: {message}" in line
    assert rig.opened == 0
    assert rig.pipeline.stop(5) is True
    assert len(collector.requests) == 1


def test_remark_with_success_is_logged_once_a_minute(
    make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning without rejected spans counts as success."""
    collector.script = lambda _: Reply(body=partial_success(0, "be careful"))
    rig = make_rig(collector)
    for ahead in (0, 0, 61, 61):
        rig.clock.ahead = ahead
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    assert [line.count("be careful") for line in lines(caplog)] == [1, 1]
    assert rig.pipeline.status.last_error is None
    assert_all_delivered(rig, collector)


def test_empty_answer_is_success_and_a_page_a_suspicion_said_once(
    make_rig: MakeRig, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """200 and 204 without a body are fine; a proxy's HTML page is logged once."""
    rig = make_rig(collector)
    for status in (200, 204):
        collector.script = lambda _, status=status: Reply(status=status)  # type: ignore[misc]
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    assert lines(caplog) == []
    collector.script = lambda _: Reply(body=b"<html>Welcome", content_type="text/html")
    for ahead in (0, 61, 122):
        rig.clock.ahead = ahead
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    (line,) = lines(caplog)
    assert "is this endpoint a Collector?" in line
    assert_all_delivered(rig, collector)
