"""A spool with clocks of its own and the ledger that it reports to."""

from pathlib import Path
from typing import Any

from telemetry.export.ledger import ON_DISK, Ledger
from telemetry.export.spool.spool import Spool
from telemetry.settings.spool import SpoolSettings

SPANS = 3
"""The number of spans in every batch here."""


class SpoolRig:
    """A spool with clocks of its own and the ledger that it reports to."""

    def __init__(self, folder: Path, *, wall_seconds: float = 1_000_000.0, **settings: Any) -> None:
        self.now = 100.0
        self.wall_seconds = wall_seconds
        self.ledger = Ledger(clock=lambda: self.now)
        self.generation = self.ledger.begin()
        self.told: list[str] = []
        defaults = {
            "endpoint": "http://collector:4317",
            "protocol": "grpc",
            "max_bytes": 2**20,
            "max_age_seconds": 3600,
            "min_free_ratio": 0.0,
            "fsync": "interval",
        }
        self.spool = Spool(
            SpoolSettings(folder=folder, **{**defaults, **settings}),
            self.ledger,
            on_trouble=self.told.append,
            clock=lambda: self.now,
            wall_clock=lambda: int(self.wall_seconds * 1e9),
        )
        assert self.spool.open()

    def append(self, payload: bytes = b"payload", *, is_held: bool = False) -> Any:
        """Spills a batch of spans that were in memory."""
        for _ in range(SPANS):
            self.ledger.admit(self.generation, is_full=False)
        record = self.spool.append(payload, SPANS, is_held=is_held)
        if record is None:
            self.ledger.drop(SPANS, self.spool.refusal, self.generation)
        else:
            assert self.ledger.spool(SPANS, self.generation)
        return record

    def take(self) -> bytes | None:
        """Delivers the next batch and returns it, or None if there is none."""
        found = self.spool.next()
        if found is None:
            return None
        record, payload = found
        self.ledger.deliver(record.spans, ON_DISK)
        self.spool.acknowledge(record, record.spans)
        return payload

    def take_all(self) -> list[bytes]:
        """Delivers and returns all remaining batches."""
        return list(iter(self.take, None))

    def adopt_all(self) -> None:
        """Looks for orphans now, and surveys their segments."""
        self.now += 31
        while True:
            self.spool.maintain()
            if self.spool.rest_seconds:
                return

    def crash(self) -> None:
        """Simulates a killed process: the kernel closes its files."""
        self.spool.forget_after_fork()

    def pass_time(self, seconds: float) -> None:
        """Advances both clocks, and lets the spool maintain itself."""
        self.now += seconds
        self.wall_seconds += seconds
        self.spool.maintain()


def segments(folder: Path) -> list[Path]:
    """Returns the segment files below a folder."""
    return sorted(folder.rglob("*.seg"))
