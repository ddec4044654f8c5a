"""The spool compared with a model: in any order of events, each batch has exactly one result."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from telemetry.export.ledger import ON_DISK, DropReason, Ledger
from telemetry.export.spool.spool import Spool
from telemetry.settings.spool import SpoolSettings

MAX_AGE_SECONDS = 100


class SpoolMachine(RuleBasedStateMachine):
    """Batches are written, sent and requeued; runs end; processes die; time passes."""

    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        """Starts with an empty folder."""
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "destination"
        self.now = 0.0
        self.number = 0
        self.live: dict[bytes, float] = {}
        """The model: every unfinished batch, and when it was written."""
        self.in_hand: set[bytes] = set()
        self.run = 0
        self.start()

    def start(self) -> None:
        """Starts a process."""
        self.run += 1
        self.in_hand.clear()
        self.ledger = Ledger(clock=lambda: self.now)
        self.generation = self.ledger.begin()
        self.spool = Spool(
            SpoolSettings(
                folder=self.folder,
                endpoint="http://collector:4317",
                protocol="grpc",
                # A segment holds few records, so that many segments are started and removed.
                max_bytes=2**12,
                max_age_seconds=MAX_AGE_SECONDS,
                min_free_ratio=0.0,
                fsync="never",
            ),
            self.ledger,
            clock=lambda: self.now,
            wall_clock=lambda: int(self.now * 1e9),
        )
        assert self.spool.open()
        while not self.spool.rest_seconds:
            self.spool.maintain()

    @rule(target=held, size=st.integers(0, 300))
    def append_held(self, size: int) -> Any:
        """Writes a batch that also stays in memory."""
        return self.append(size, is_held=True)

    @rule(size=st.integers(0, 300))
    def append_waiting(self, size: int) -> None:
        """Writes a batch that is only on disk."""
        self.append(size, is_held=False)

    def append(self, size: int, *, is_held: bool) -> Any:
        """Writes a batch of one span."""
        self.number += 1
        payload = b"%d " % self.number + b"x" * size
        self.ledger.admit(self.generation, is_full=False)
        record = self.spool.append(payload, 1, is_held=is_held)
        if record is None:
            assert self.spool.size_bytes + len(payload) + 32 > 2**12, "refused though there was room"
            self.ledger.drop(1, self.spool.refusal, self.generation)
            return None
        assert self.ledger.spool(1, self.generation)
        self.live[payload] = self.now
        if is_held:
            self.in_hand.add(payload)
        return self.run, payload, record

    @rule(target=held)
    def take(self) -> Any:
        """Takes the next batch, which must be waiting and belong to this process and run."""
        found = self.spool.next()
        waiting = {
            payload
            for payload, at in self.live.items()
            if payload not in self.in_hand and self.now - at <= MAX_AGE_SECONDS
        }
        if found is None:
            assert not waiting, "it says it has nothing"
            self.forget_expired()
            return None
        record, payload = found
        assert payload in waiting
        self.in_hand.add(payload)
        return self.run, payload, record

    @rule(held=consumes(held))
    def acknowledge(self, held: Any) -> None:
        """Acknowledges a held batch as delivered."""
        if held is None or held[0] != self.run:
            return
        self.ledger.deliver(1, ON_DISK)
        self.spool.acknowledge(held[2], held[2].spans)
        self.in_hand.remove(held[1])
        del self.live[held[1]]

    @rule(held=consumes(held))
    def requeue(self, held: Any) -> None:
        """Returns a held batch that could not be sent."""
        if held is None or held[0] != self.run:
            return
        self.spool.requeue(held[2])
        self.in_hand.remove(held[1])

    @rule()
    def end_run(self) -> None:
        """Stops and starts a pipeline in the same process: no batch is held afterwards."""
        self.spool.pause()
        self.in_hand.clear()
        self.run += 1
        assert self.spool.open()

    @rule(is_killed=st.booleans())
    def end_process(self, is_killed: bool) -> None:
        """Ends a process, cleanly or not; the next one adopts everything that is live."""
        if is_killed:
            self.spool.forget_after_fork()
        else:
            self.spool.pause()
            self.spool.close()
        self.start()
        assert len(self.live) - self.expired <= self.ledger.read().adopted <= len(self.live)

    @rule(seconds=st.integers(1, 60))
    def pass_time(self, seconds: int) -> None:
        """Lets time pass and runs the spool's maintenance."""
        self.now += seconds
        self.spool.maintain()

    @precondition(lambda self: self.live)
    @rule()
    def expire_everything(self) -> None:
        """Lets so much time pass that every waiting batch is too old."""
        self.now += MAX_AGE_SECONDS + 1
        self.spool.maintain()
        while (found := self.spool.next()) is not None:
            raise AssertionError(f"{found} is too old")
        self.forget_expired()
        assert set(self.live) == self.in_hand

    def forget_expired(self) -> None:
        """Removes from the model the batches that are too old and not held."""
        for payload, at in list(self.live.items()):
            if payload not in self.in_hand and self.now - at > MAX_AGE_SECONDS:
                del self.live[payload]

    @property
    def expired(self) -> int:
        """Returns the number of batches that the spool may expire at any time, or has already expired."""
        return sum(
            payload not in self.in_hand and self.now - at > MAX_AGE_SECONDS
            for payload, at in self.live.items()
        )

    @invariant()
    def every_batch_is_somewhere(self) -> None:
        """The ledger adds up, and its spooled spans match the model, apart from expired batches."""
        if not hasattr(self, "spool"):
            return
        reading = self.ledger.read()
        assert reading.is_balanced
        assert len(self.live) - self.expired <= reading.spooled <= len(self.live)
        assert self.spool.size_bytes <= 2**12
        assert not reading.dropped.get(DropReason.SPOOL_CORRUPT)

    def teardown(self) -> None:
        """Removes the folder."""
        if hasattr(self, "spool"):
            self.spool.forget_after_fork()
            shutil.rmtree(self.root)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
