"""The circuit breaker; it imports nothing else from this project."""

from .breaker import (
    LONGEST_RETRY_AFTER_SECONDS,
    SHORTEST_SHARE,
    BreakerSnapshot,
    BreakerState,
    CircuitBreaker,
    Permit,
    Rejected,
    Transition,
)
from .settings import BreakerSettings

__all__ = [
    "LONGEST_RETRY_AFTER_SECONDS",
    "SHORTEST_SHARE",
    "BreakerSettings",
    "BreakerSnapshot",
    "BreakerState",
    "CircuitBreaker",
    "Permit",
    "Rejected",
    "Transition",
]
