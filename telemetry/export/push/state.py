"""What health and metrics show of pushed metrics."""

from dataclasses import dataclass

from ..breaker import CircuitBreaker
from ..status import ExportStatus


@dataclass(frozen=True, slots=True)
class PushState:
    """The destination of pushed metrics, and how the pushes go. Any thread may read it."""

    endpoint: str
    """Without secrets."""
    status: ExportStatus
    breaker: CircuitBreaker
    has_own_breaker: bool
    """Whether it is another one than the spans', because they go to another server."""
