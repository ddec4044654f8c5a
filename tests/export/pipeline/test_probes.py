"""The first call after an outage, when there turns out to be nothing to send."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.pipeline_rig import SpooledRig
from support.spool_rig import segments
from support.waiting import Until

from telemetry.export.ledger import DropReason


def test_probe_without_a_batch_is_given_back(
    make_spooled: Callable[..., SpooledRig], receiver: Any, until: Until, tmp_path: Path
) -> None:
    """The only record was damaged; the next span is the probe, and need not wait until a lease is over."""
    # A lease lasts longer than two attempts.
    rig = make_spooled(exporter_timeout_seconds=30, export_timeout_ms=30_000)
    receiver.stop()
    rig.end_spans("damaged")
    until("the span on disk", lambda: rig.ledger.spooled == 1)
    (file,) = segments(tmp_path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    receiver.start()
    until("the damage found", lambda: rig.ledger.dropped == {DropReason.SPOOL_CORRUPT: 1})
    rig.end_spans("next")
    until("the next span delivered", lambda: rig.ledger.delivered == 1)
    assert receiver.names == ["next"]
