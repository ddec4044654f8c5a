"""The worker's section of the configuration. Defaults are declared in `config.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batching:
    """The limits at which a batch is made."""

    size: int
    """Spans in a full batch."""
    delay_seconds: float
    """The longest a span waits in the queue."""
