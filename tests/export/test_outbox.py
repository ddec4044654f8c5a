"""The outbox and its flushes: nothing leaves it unnoticed, and nobody waits for what will not come."""

import threading

from support.waiting import Until

from telemetry.export.otlp.split import Batch
from telemetry.export.outbox import Flush, Outbox, QueuedBatch


def queued(payload: bytes, spans: int = 1) -> QueuedBatch:
    """Returns a batch for an outbox, which does not look into it."""
    return QueuedBatch(Batch(payload, spans), 0)


def test_what_could_not_be_moved_is_put_back_before_all_others() -> None:
    """Order and size are as if nothing had been taken."""
    outbox = Outbox(100)
    for payload in (b"one", b"three", b"seven"):
        assert outbox.put(queued(payload))
    moved, *kept = outbox.take_all()
    assert (len(outbox), outbox.size_bytes) == (0, 0)
    assert outbox.put(queued(b"fresh"))
    outbox.restore(kept)
    assert (len(outbox), outbox.size_bytes) == (3, 15)
    assert [outbox.take().batch.payload for _ in range(3)] == [b"three", b"seven", b"fresh"]
    assert moved.batch.payload == b"one"


def test_limit_may_be_reached_but_not_exceeded() -> None:
    """Batches in flight count until they are done."""
    outbox = Outbox(10)
    assert outbox.put(queued(b"x" * 6))
    assert outbox.put(queued(b"x" * 4))
    assert not outbox.put(queued(b"x"))
    taken = outbox.take()
    assert not outbox.put(queued(b"x"))
    outbox.done(taken)
    assert outbox.put(queued(b"x" * 6))
    assert not outbox.put(queued(b"x"))


def test_failed_flush_ends_at_once(until: Until) -> None:
    """The run is over: whoever waits need not wait for the timeout."""
    flush = Flush()
    flush.begin((queued(b"payload"),), is_whole=True)
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(flush.wait(threading.TIMEOUT_MAX)), daemon=True)
    waiting.start()
    assert waiting.is_alive()
    flush.fail()
    until("the flush to end", lambda: results == [False])
