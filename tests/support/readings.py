"""Made-up input of the lab: readings of a service's health, and results of the generator."""

from datetime import UTC, datetime, timedelta
from typing import Any

from loadtest.load.report import LoadResult
from loadtest.watch import Reading


def reading(at: float, *, ended: int = 0, delivered: int = 0, **changes: Any) -> Reading:
    """Returns a balanced reading, with undelivered spans in memory, unless changed."""
    figures: dict[str, Any] = {
        "at": at,
        "service": "storefront",
        "breaker": "closed",
        "opened_total": 0,
        "ended": ended,
        "adopted": 0,
        "delivered": delivered,
        "rejected": 0,
        "dropped": {},
        "in_memory": ended - delivered,
        "spooled": 0,
        "spool_bytes": 0,
        "buffer_bytes": 0,
        "rss_bytes": 0,
        "last_error": "",
    }
    return Reading(**{**figures, **changes})


def load_result(*, requests: int, seconds: float) -> LoadResult:
    """Returns the result of a run in which every request got its response in time."""
    started = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    return LoadResult(
        started=started,
        ended=started + timedelta(seconds=seconds),
        users=20,
        intended_rate=requests / seconds,
        achieved_rate=requests / seconds,
        requests=requests,
        failures=0,
        p50_ms=4,
        p95_ms=11,
        p99_ms=21,
        late_p99_ms=1,
        generator_cpu_share=0.2,
        expected_errors={},
        failures_by_name=[],
        first_failures=[],
        script_errors=[],
    )
