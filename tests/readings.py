"""A service's reading, made up."""

from typing import Any

from loadtest.watch import Reading


def reading(at: float, *, ended: int = 0, delivered: int = 0, **changes: Any) -> Reading:
    """Balanced, with what was not delivered in memory, unless it is changed."""
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
