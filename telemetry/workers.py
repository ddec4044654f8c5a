"""Several worker processes behind one port: each offers its metrics to its siblings, and any answers for all.

prometheus_client's own multi-process mode loses exemplars and custom collectors. Here each worker holds a
slot, the lowest free number, by a lock that the kernel frees however the worker ends, and answers on a Unix
socket beside it with everything it measures. Whoever is asked for `/metrics` reads the others and labels
every sample with its slot. So the label is bounded, a replaced worker is a counter reset and no new series,
and of a dead one nothing is left.

Threads: one daemon thread a worker answers siblings, one at a time; reading siblings is asynchronous.
"""

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from prometheus_client import values
from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

from . import names
from .fork import call_in_forked_child

try:
    import fcntl
except ImportError:  # Windows, which has no prefork servers either
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""What silent siblings may cost one `/metrics`, all together; well below any scraper's own time-out."""
_SEND_SECONDS = 0.25
"""What one reader that does not read may take from the next."""
_MOST_WORKERS = 1_000
_MOST_BYTES = 64 * 2**20
"""Of one sibling's answer: no real exposition comes near."""
_BACKLOG = 16
_SERVERS = frozenset({"uvicorn", "gunicorn", "fastapi"})
_WORKERS_OPTION = re.compile(r"(?:^|\s)(?:-w|--workers)[\s=](\d+)")


class Worker:
    """This process's slot among the workers that share a folder. Thread-safe.

    Args:
        folder: where all of them meet; made when absent.
        group: which workers belong together: those of another configuration are not merged.
        collect: gives everything that this worker measures.
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
        self._silent: frozenset[int] = frozenset()
        call_in_forked_child(self._forget)

    def start(self) -> None:
        """Takes a slot and answers siblings from now on; harmless when it does.

        Where the folder or a socket in it cannot be had, that is logged once, and the worker stays alone.
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
        """Gives the slot back; siblings no longer see this worker."""
        with self._lock:
            if self._slot is not None:
                with suppress(OSError):
                    self._socket_of(self._slot).unlink()
            self._release()

    async def collect_all(self) -> list[Metric]:
        """Every live worker's metrics under a `worker` label, this one's own first.

        Takes at most `ANSWER_SECONDS` longer than without siblings. One that does not answer in time is
        counted and logged, and one that is gone is nobody.
        """
        own = 0 if self._slot is None else self._slot
        answers, silent = ({}, frozenset()) if self._slot is None else await self._read_siblings()
        if silent - self._silent:
            logger.warning("workers %s do not answer: /metrics lacks them", sorted(silent - self._silent))
        self._silent = silent
        count = Metric(names.WORKERS, "Worker processes, by whether this answer has their metrics.", "gauge")
        count.add_sample(names.WORKERS, {names.STATE: "answered"}, 1 + len(answers))
        count.add_sample(names.WORKERS, {names.STATE: "silent"}, len(silent))
        return [*merge({own: self._collect(), **dict(sorted(answers.items()))}), count]

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
        path.unlink(missing_ok=True)  # of a dead worker, or the lock would not have been free
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
        """In a forked child: slot and socket are the parent's; this process has none until it starts."""
        self._lock = threading.Lock()
        if self._listener is not None:
            self._listener.close()
        if self._slot_descriptor is not None:
            os.close(self._slot_descriptor)  # and never unlocked: the lock is the parent's too
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
                    connection.sendall(_encode(self._collect()))
                except OSError:
                    continue  # the sibling's time was over, or it is gone
                except Exception:
                    logger.exception("this worker's metrics could not be collected for a sibling")

    async def _read_siblings(self) -> tuple[dict[int, list[Metric]], frozenset[int]]:
        """The answers by slot, and the slots of those that are there but gave none in time."""
        answers: dict[int, list[Metric]] = {}
        silent: set[int] = set()

        async def read(slot: int) -> None:
            try:
                stream = await anyio.connect_unix(self._socket_of(slot))
            except OSError:
                silent.discard(slot)  # nobody listens: dead
                return
            async with stream:
                body = bytearray()
                try:
                    async for part in stream:
                        body += part
                        if len(body) > _MOST_BYTES:
                            return
                    answers[slot] = _decode(body)
                except (ValueError, TypeError, KeyError, anyio.BrokenResourceError):
                    return  # cut off, or no sibling of this version
            silent.discard(slot)

        with anyio.move_on_after(ANSWER_SECONDS):
            async with anyio.create_task_group() as tasks:
                for slot in self._siblings():
                    silent.add(slot)
                    tasks.start_soon(read, slot)
        return answers, frozenset(silent)

    def _siblings(self) -> list[int]:
        pattern = re.compile(rf"{re.escape(self._group)}-(\d+)\.sock")
        try:
            found = [pattern.fullmatch(path.name) for path in self._folder.iterdir()]
        except OSError:  # removed under a running service
            return []
        return [int(match[1]) for match in found if match and int(match[1]) != self._slot]

    def _socket_of(self, slot: int) -> Path:
        return self._path(slot, "sock")

    def _path(self, slot: int, suffix: str) -> Path:
        return self._folder / f"{self._group}-{slot}.{suffix}"


def merge(expositions: Mapping[int, Iterable[Metric]]) -> list[Metric]:
    """One exposition of many: families of a name become one, each sample labelled with its worker.

    A label `worker` of the application's own becomes `exported_worker`, as Prometheus itself does on a
    conflict. Where workers disagree about a family's type, the first one's word holds, and the other's
    samples are left out.
    """
    merged: dict[str, Metric] = {}
    for slot, families in expositions.items():
        for family in families:
            target = merged.setdefault(
                family.name, Metric(family.name, family.documentation, family.type, family.unit)
            )
            if target.type != family.type:
                logger.warning(
                    "worker %d has %s as a %s, others as a %s", slot, family.name, family.type, target.type
                )
                continue
            for sample in family.samples:
                labels = dict(sample.labels)
                if names.WORKER in labels:
                    labels[f"exported_{names.WORKER}"] = labels.pop(names.WORKER)
                labels[names.WORKER] = str(slot)
                target.samples.append(sample._replace(labels=labels))
    return list(merged.values())


def keep_values_in_process() -> None:
    """Has prometheus_client keep the values of metrics made from now on in memory.

    It decides at its import, by PROMETHEUS_MULTIPROC_DIR, for files that hold no exemplars and that a process
    inherits from a dead one of the same id (prometheus_client/values.py). Metrics made earlier stay in files.
    """
    values.ValueClass = values.MutexValue


def announced_workers(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """How many workers the server was told to run, as far as its variables and command line say: 1 if not."""
    counts = [environment.get("WEB_CONCURRENCY", "")]
    counts += _WORKERS_OPTION.findall(environment.get("GUNICORN_CMD_ARGS", ""))
    program = Path(arguments[0] if arguments else "")
    if (program.parent.name if program.name == "__main__.py" else program.name) in _SERVERS:
        # A spawned worker has its parent's command line.
        counts += _WORKERS_OPTION.findall(" ".join(arguments[1:]))
    return max(int(count) if count.isdecimal() else 1 for count in counts)


def _encode(families: Iterable[Metric]) -> bytes:
    return json.dumps([_as_list(family) for family in families]).encode()


def _as_list(family: Metric) -> list[Any]:
    # Native histograms are left out: prometheus_client parses them but measures none.
    samples = [
        [sample.name, sample.labels, sample.value, _seconds(sample.timestamp), _exemplar_as_list(sample)]
        for sample in family.samples
    ]
    return [family.name, family.documentation, family.type, family.unit, samples]


def _exemplar_as_list(sample: Sample) -> list[Any] | None:
    exemplar = sample.exemplar
    return exemplar and [exemplar.labels, exemplar.value, _seconds(exemplar.timestamp)]


def _decode(body: bytes | bytearray) -> list[Metric]:
    families = []
    for name, documentation, kind, unit, samples in json.loads(body):
        family = Metric(name, documentation, kind, unit)
        family.samples = [
            Sample(sample_name, labels, value, timestamp, exemplar and Exemplar(*exemplar))
            for sample_name, labels, value, timestamp, exemplar in samples
        ]
        families.append(family)
    return families


def _seconds(timestamp: Any) -> float | None:
    return None if timestamp is None else float(timestamp)
