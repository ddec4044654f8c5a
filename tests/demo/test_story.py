"""The demo's verdict: a good story keeps every promise, and each fault breaks one."""

from dataclasses import replace

import pytest

from demo.story import Phase, Reading, Request, Story, judge, percentile
from telemetry.health.report import LedgerHealth


def reading(at: float, breaker: str = "closed", **ledger: int) -> Reading:
    """Returns a reading of the shop with this breaker state and ledger."""
    return Reading(at, "shop", breaker, LedgerHealth(**ledger), spool_bytes=0, buffer_bytes=0)


@pytest.fixture
def story() -> Story:
    """A Collector that dies at 10 s and returns at 20 s, with every promise kept."""
    return Story(
        killed_at=10,
        returned_at=20,
        requests=[Request(at / 10, 5.0, is_failed=False) for at in range(300)],
        readings=[
            reading(5, ended=40, delivered=40),
            reading(12, "open", ended=70, delivered=40, in_memory=10, spooled=20),
            reading(30, ended=100, delivered=100),
        ],
    )


def broken(story: Story, received: int = 100) -> list[str]:
    """Returns the promises that were not kept."""
    return [promise.text for promise in judge(story, received) if not promise.is_kept]


def test_good_story_keeps_every_promise(story: Story) -> None:
    """There are seven of them."""
    assert broken(story) == []
    assert len(judge(story, 100)) == 7


def test_breaker_that_opens_late_or_never(story: Story) -> None:
    """More than five seconds are too long."""
    story.readings[1] = replace(story.readings[1], at=15.1)
    assert broken(story) == ["the breaker opened within 5 s"]
    story.readings[1] = replace(story.readings[1], breaker="closed")
    assert broken(story) == ["the breaker opened within 5 s"]


def test_failed_request(story: Story) -> None:
    """A single failed request breaks the promise."""
    story.requests[150] = replace(story.requests[150], is_failed=True)
    assert broken(story) == ["no request failed"]


def test_latency_that_moves(story: Story) -> None:
    """A latency that rises by more than half breaks the promise."""
    slow = [
        replace(request, latency_ms=8.0) if story.phase(request.at) is Phase.OUTAGE else request
        for request in story.requests
    ]
    assert broken(replace(story, requests=slow)) == ["p95 did not rise above x 1.5"]


def test_nothing_on_disk(story: Story) -> None:
    """The spool must have been seen in use."""
    story.readings[1] = reading(12, "open", ended=70, delivered=40, in_memory=30)
    assert broken(story) == ["unsent spans went to disk"]


def test_ledger_that_does_not_add_up(story: Story) -> None:
    """A single unbalanced reading breaks the promise."""
    story.readings[1] = reading(12, "open", ended=70, delivered=40, in_memory=10, spooled=19)
    assert broken(story) == ["the ledger added up at every reading"]


def test_breaker_that_stays_open(story: Story) -> None:
    """Half open is not closed."""
    story.readings[2] = replace(story.readings[2], breaker="half_open")
    assert broken(story) == ["the breaker closed again"]


@pytest.mark.parametrize("received", [100, 99])
def test_span_that_is_lost(story: Story, received: int) -> None:
    """The loss shows in the service's own ledger or in the Collector's count."""
    if received == 100:
        story.readings[2] = reading(30, ended=101, delivered=100, in_memory=1)
    assert broken(story, received) == ["every span was delivered"]


def test_story_in_which_nothing_happened_keeps_nothing_it_cannot_show() -> None:
    """No requests and no readings prove nothing."""
    assert len(broken(Story(killed_at=10, returned_at=20), 0)) == 7


def test_percentile_is_interpolated() -> None:
    """The 95th percentile of 0 to 100 is 95."""
    assert percentile(range(101), 95) == pytest.approx(95, abs=0.1)
