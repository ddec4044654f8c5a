"""Metrics of several worker processes behind one port, any of which answers for all.

prometheus_client's own multiprocess mode loses exemplars and custom collectors. Here each worker holds a
slot, the lowest free number, by a lock that the kernel frees however the worker ends, and serves all of its
metrics to its siblings on a Unix socket beside the lock. The worker asked for `/metrics` reads the others and
labels every sample with its worker's slot. The label is therefore bounded, a replaced worker is a counter
reset rather than a new series, and a dead one leaves nothing behind.

Threads: in each worker, one daemon thread answers siblings, one at a time. Siblings are read asynchronously;
their answers are parsed and merged off the event loop.
"""

import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
from prometheus_client import values
from prometheus_client.core import Metric

from ..fork import call_in_forked_child
from . import names
from .merge import from_json, merge, to_json

try:
    import fcntl
except ImportError:  # Windows, which has no prefork servers either
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""How long silent siblings may delay one `/metrics`, all together; well below any scraper's timeout."""
_SEND_SECONDS = ANSWER_SECONDS / 2
"""How long a stalled reader may delay the next one."""
_MOST_WORKERS = 1_000
_MOST_BYTES = 64 * 2**20
"""The limit of one sibling's answer, far above any real exposition."""
_BACKLOG = 16


class WorkerMetrics:
    """This process's slot among the workers that share a folder. Thread-safe.

    Args:
        folder: the shared folder; created if missing.
        group: identifies workers that are merged; those with another configuration are not.
        collect: returns all metrics of this worker.
    """

    def __init__(self, folder: Path, group: str, collect: Callable[[], Iterable[Metric]]) -> None:
        self._folder = folder
        self._group = group
        self._collect = collect
        self._lock = threading.Lock()
        self._slot: int | None = None
        self._slot_descriptor: int | None = None
        self._listener: socket.socket | None = None
        self._has_failed = False
        self._told: frozenset[str] = frozenset()
        call_in_forked_child(self._forget)

    def start(self) -> None:
        """Takes a slot and starts to answer siblings; harmless if already started.

        If the folder or a socket in it cannot be used, this is logged once and the worker stays alone.
        """
        with self._lock:
            if self._slot is not None or self._has_failed:
                return
            try:
                self._claim()
            except OSError as error:
                self._has_failed = True
                self._release()
                logger.warning(
                    "PROMETHEUS_MULTIPROC_DIR=%s cannot be used (%s): /metrics shows this worker only; "
                    "set it to a short path of a folder that the service can write",
                    self._folder,
                    error,
                )

    def stop(self) -> None:
        """Releases the slot; siblings no longer see this worker."""
        with self._lock:
            if self._slot is not None:
                with suppress(OSError):
                    self._socket_of(self._slot).unlink()
            self._release()

    async def collect_all(self) -> list[Metric]:
        """Collects every live worker's metrics under a `worker` label, this one's own first.

        Takes at most `ANSWER_SECONDS` longer than without siblings. A sibling that does not answer in time
        is counted and logged; a dead one is ignored.
        """
        own = 0 if self._slot is None else self._slot
        bodies, unanswered = ({}, set()) if self._slot is None else await self._read_siblings()
        return await anyio.to_thread.run_sync(
            self._merge,
            own,
            bodies,
            unanswered,
            # It has its own limiter, since the application's threads may all be stuck.
            limiter=anyio.CapacityLimiter(1),
        )

    def _merge(self, own: int, bodies: Mapping[int, bytearray], unanswered: set[int]) -> list[Metric]:
        expositions: dict[int, Iterable[Metric]] = {own: self._collect()}
        silent = set(unanswered)
        for slot, body in sorted(bodies.items()):
            try:
                expositions[slot] = from_json(body)
            except ValueError:  # truncated, or not a sibling of this version
                silent.add(slot)
        families, disagreements = merge(expositions)
        self._log(
            *disagreements,
            *(
                f"worker {slot} does not answer: its metrics are missing from /metrics"
                for slot in sorted(silent)
            ),
        )
        count = Metric(
            names.WORKERS, "Worker processes, by whether this response includes their metrics.", "gauge"
        )
        count.add_sample(names.WORKERS, {names.STATE: "answered"}, len(expositions))
        count.add_sample(names.WORKERS, {names.STATE: "silent"}, len(silent))
        return [*families, count]

    def _log(self, *troubles: str) -> None:
        """Logs new problems; one that persists is logged only once."""
        for each in troubles:
            if each not in self._told:
                logger.warning("%s", each)
        self._told = frozenset(troubles)

    def _claim(self) -> None:
        if fcntl is None:
            raise OSError("this system has no file locks")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in range(_MOST_WORKERS):
            descriptor = os.open(self._path(slot, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self._slot, self._slot_descriptor = slot, descriptor
            break
        else:
            raise OSError(f"all of {_MOST_WORKERS} slots are taken")
        path = self._socket_of(self._slot)
        path.unlink(missing_ok=True)  # left by a dead worker, since the lock was free
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener = listener
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        threading.Thread(
            target=self._answer, args=(listener,), name="telemetry-worker-metrics", daemon=True
        ).start()

    def _release(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept()
            self._listener.close()
        if self._slot_descriptor is not None:
            os.close(self._slot_descriptor)
        self._slot = self._slot_descriptor = self._listener = None

    def _forget(self) -> None:
        """Drops the parent's slot and socket in a forked child, which has none until it starts."""
        self._lock = threading.Lock()
        if self._listener is not None:
            self._listener.close()
        if self._slot_descriptor is not None:
            os.close(self._slot_descriptor)  # but never unlocked: the lock is the parent's too
        self._slot = self._slot_descriptor = self._listener = None
        self._has_failed = False

    def _answer(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed by stop()
                return
            with connection:
                connection.settimeout(_SEND_SECONDS)
                try:
                    connection.sendall(to_json(self._collect()))
                except OSError:
                    continue  # the sibling timed out or is gone
                except Exception:
                    logger.exception("this worker's metrics could not be collected for a sibling")

    async def _read_siblings(self) -> tuple[dict[int, bytearray], set[int]]:
        """Returns the answers by slot, and the slots of live siblings that did not answer in time."""
        bodies: dict[int, bytearray] = {}
        unanswered: set[int] = set()

        async def read(slot: int) -> None:
            try:
                stream = await anyio.connect_unix(self._socket_of(slot))
            except (ConnectionRefusedError, FileNotFoundError):
                unanswered.discard(slot)  # nothing listens: it is dead
                return
            except OSError:
                return
            async with stream:
                body = bytearray()
                with suppress(anyio.BrokenResourceError):
                    async for part in stream:
                        body += part
                        if len(body) > _MOST_BYTES:
                            return
                bodies[slot] = body

        with anyio.move_on_after(ANSWER_SECONDS):
            async with anyio.create_task_group() as tasks:
                for slot in self._siblings():
                    unanswered.add(slot)
                    tasks.start_soon(read, slot)
        return bodies, unanswered - bodies.keys()

    def _siblings(self) -> list[int]:
        pattern = re.compile(rf"{re.escape(self._group)}-(\d+)\.sock")
        try:
            found = [pattern.fullmatch(path.name) for path in self._folder.iterdir()]
        except OSError:  # removed while the service runs
            return []
        return [int(match[1]) for match in found if match and int(match[1]) != self._slot]

    def _socket_of(self, slot: int) -> Path:
        return self._path(slot, "sock")

    def _path(self, slot: int, suffix: str) -> Path:
        return self._folder / f"{self._group}-{slot}.{suffix}"


def keep_values_in_process() -> None:
    """Makes prometheus_client keep the values of metrics created from now on in memory.

    If PROMETHEUS_MULTIPROC_DIR is set at its import, it uses files, which hold no exemplars
    (prometheus_client/values.py). Metrics created earlier stay in such files, which a process inherits from a
    dead one with the same id: empty the folder before the service starts, as prometheus_client asks anyway.
    """
    values.ValueClass = values.MutexValue
