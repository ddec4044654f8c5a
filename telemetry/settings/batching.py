"""The worker's section of the configuration, as the worker takes it. Defaults are declared in `config.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch is made."""

    size: int
    """Spans of a full batch."""
    delay_seconds: float
    """The longest that a span waits in the queue."""
