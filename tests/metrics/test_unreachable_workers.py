"""Siblings that are there and cannot be connected to."""

import socket
from pathlib import Path

from support.worker_metrics import Join, collect, counting, jobs_by_worker, workers_seen


def test_sibling_that_cannot_be_connected_to_is_silent(joined: Join, folder: Path) -> None:
    """Whatever the reason, the others' metrics are there; only one that is dead is not counted."""
    worker = joined(counting(1))
    # To connect fails, though somebody is there: it is a socket of another type.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(folder / "g-7.sock"))
        families = collect(worker)
    assert jobs_by_worker(families) == {"0": 1}
    assert workers_seen(families) == {"answered": 1, "silent": 1}


def test_dead_sibling_is_not_counted(joined: Join, folder: Path) -> None:
    """A killed worker leaves its socket behind, on which nobody listens."""
    worker = joined(counting(1))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "g-7.sock"))
    assert workers_seen(collect(worker)) == {"answered": 1, "silent": 0}
