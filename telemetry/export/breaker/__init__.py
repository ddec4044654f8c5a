"""The circuit breaker; it imports nothing else from this project."""

from .breaker import LONGEST_RETRY_AFTER_SECONDS, SHORTEST_SHARE, CircuitBreaker, Permit
from .reachability import CHECK_SECONDS, ConnectionCheck
from .settings import BreakerSettings
from .states import BreakerSnapshot, BreakerState, Rejected, Transition

__all__ = [
    "CHECK_SECONDS",
    "LONGEST_RETRY_AFTER_SECONDS",
    "SHORTEST_SHARE",
    "BreakerSettings",
    "BreakerSnapshot",
    "BreakerState",
    "CircuitBreaker",
    "ConnectionCheck",
    "Permit",
    "Rejected",
    "Transition",
]
