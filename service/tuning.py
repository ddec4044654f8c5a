"""Tuning on demand: a developer changes batch size, delay and sampling ratio while a service runs.

Outside development neither the routes nor the task exist. The override is kept in a file that every worker
of the service follows. It is removed at the service's next start, so that the configuration applies again.
"""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

from fastapi import FastAPI, HTTPException, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from service.authentication import API_KEY_IN_DOCS
from telemetry.client import TelemetryClient

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
"""How often a worker checks for a new override."""


class Tuning(BaseModel):
    """Settings to override; absent ones stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int | None = Field(default=None, ge=1)
    """Number of spans in a full batch, up to the queue's capacity."""

    delay_ms: float | None = Field(default=None, gt=0)
    """The longest that a span waits for its batch to fill."""

    sampling_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of new traces that is kept; None is reported if the sampler has no ratio."""


class TuningOnDemand:
    """The override, as one worker applies it to its pipeline.

    Args:
        client: the client that owns the pipeline.
        file: where the override is kept, the same for every worker of the service.
    """

    def __init__(self, client: TelemetryClient, file: Path) -> None:
        self._client = client
        self._file = file
        self._followed = ""

    def read(self) -> Tuning:
        """Returns the values in effect in this worker."""
        health = self._client.health()
        return Tuning(
            batch_size=health.batch.size,
            delay_ms=health.batch.delay_ms,
            sampling_ratio=health.sampling_ratio,
        )

    def write(self, override: Tuning) -> Tuning:
        """Puts an override into effect, here at once and soon in the other workers.

        Returns the values in effect.

        Raises:
            HTTPException: 422, a value is rejected; the detail gives the reason, and nothing has changed.
        """
        # One writer at a time across all workers: each adds to the override of the previous one.
        with self._file.with_suffix(".turn").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            try:
                self._apply(override)
            except ValueError as error:
                raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error
            everything = self._overrides().model_copy(update=override.model_dump(exclude_none=True))
            draft = self._file.with_suffix(f".{uuid4().hex}")
            draft.write_text(everything.model_dump_json())
            draft.replace(self._file)
        return self.read()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Follows the override until the block ends; the first worker of a service removes a stale one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            # If nobody holds the lock, this is the first worker: the kernel frees locks of killed processes.
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._file.unlink(missing_ok=True)
            await run_in_threadpool(fcntl.flock, lock, fcntl.LOCK_SH)
            task = asyncio.create_task(self._follow())
            try:
                yield
            finally:
                task.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                self._follow_once()
            except FileNotFoundError:
                pass  # there is no override
            except ValueError as error:
                logger.warning("the override in %s is ignored: %s", self._file, error)
            await asyncio.sleep(_LOOK_SECONDS)

    def _follow_once(self) -> None:
        at = self._file.stat()
        stamp = f"{at.st_ino} {at.st_mtime_ns}"
        if stamp != self._followed:
            self._followed = stamp
            self._apply(self._overrides())

    def _overrides(self) -> Tuning:
        try:
            return Tuning.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return Tuning()

    def _apply(self, override: Tuning) -> None:
        self._client.configure(
            batch_size=override.batch_size, delay_ms=override.delay_ms, sampling_ratio=override.sampling_ratio
        )


def include_tuning(app: FastAPI, tuning: TuningOnDemand) -> None:
    """Adds `GET` and `PUT /tuning`."""
    app.add_api_route("/tuning", tuning.read, methods=["GET"])
    app.add_api_route("/tuning", tuning.write, methods=["PUT"], dependencies=[API_KEY_IN_DOCS])
