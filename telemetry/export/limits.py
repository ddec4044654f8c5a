"""What a run of the pipeline may hold and do at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what a worker may hold and do at once."""

    queue_spans: int
    buffer_bytes: int
    in_flight: int
    attempt_seconds: float
    is_write_ahead: bool = False
    """Whether every batch is written to the spool before it is sent."""
