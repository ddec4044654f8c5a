"""What the page can do to the stack: end and start parts, a burst of load, other batching.

Only what `make` can do as well, through the same Runtime. Calls that take their time run on threads.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import httpx

from stack.errors import StackError
from stack.runtime import PartState, PartStatus, Runtime
from stack.services import STOREFRONT, urls_of_services
from stack.settings import ROOT, StackSettings

BURST_USERS, BURST_RATE, BURST_SECONDS = 20, 60, 30
_TIMEOUT_SECONDS = 3.0
_FAILED_REQUESTS = 1
"""Exit status of a load whose requests got another answer than they were meant to get."""
_INTERRUPTED = {130, -signal.SIGTERM}
_LINES_SHOWN = 3


class ControlError(Exception):
    """What was asked for did not happen; the message is for the reader of the page."""


class Control:
    """Belongs to one event loop.

    Args:
        settings: where the services listen.
        runtime: whose parts are ended and started.
    """

    def __init__(self, settings: StackSettings, runtime: Runtime) -> None:
        self._urls = urls_of_services(settings)
        self._environment = {**os.environ, **settings.variables()}
        self._runtime = runtime
        self._one_at_a_time = asyncio.Lock()
        self._one_override = asyncio.Lock()
        self._one_burst = asyncio.Lock()
        self._burst: asyncio.subprocess.Process | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a part is being ended or started."""
        return self._one_at_a_time.locked()

    async def statuses(self) -> list[PartStatus]:
        """Every part as it is now; nothing when the stack cannot say."""
        try:
            return await asyncio.to_thread(self._runtime.status)
        except StackError:
            return []

    async def kill(self, part: str) -> None:
        """Ends a part at once.

        Raises:
            ControlError: it did not.
        """
        await self._do(self._runtime.kill, part)

    async def freeze(self, part: str) -> None:
        """Stops a part without ending it.

        Raises:
            ControlError: it did not.
        """
        await self._do(self._runtime.pause, part)

    async def start(self, part: str, state: PartState) -> None:
        """Starts a part, or lets it go on.

        Raises:
            ControlError: it did not.
        """
        await self._do(self._runtime.resume if state is PartState.PAUSED else self._runtime.start, part)

    @property
    def has_burst(self) -> bool:
        """Whether a burst of load goes on."""
        return self._one_burst.locked()

    async def burst(self) -> None:
        """Shoppers for half a minute, or until `end_burst`; one burst at a time.

        Raises:
            ControlError: it could not begin, or requests failed.
        """
        if self.has_burst:
            return
        async with self._one_burst:
            status, words = await self._run_burst()
        if status == _FAILED_REQUESTS:
            raise ControlError("requests of the burst failed: Traces, with errors only, has them")
        if status not in {0, *_INTERRUPTED}:
            lines = [line for line in words.splitlines() if line.strip()]
            raise ControlError(" ".join(["the burst failed:", *lines[-_LINES_SHOWN:]]))

    def end_burst(self) -> None:
        """Ends it now, if there is one."""
        if self._burst is not None:
            self._burst.terminate()

    async def tuning(self) -> dict[str, float | None] | None:
        """Batch size, delay and ratio in effect at the storefront; None where they cannot be changed.

        Read from its health, which is never traced: a page that is open must not show in the traces.
        """
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
                health = (await client.get(f"{self._urls[STOREFRONT.name]}/health/telemetry")).json()
                if health["service"]["environment"] != "development":
                    return None
                return {
                    "batch_size": health["batch"]["size"],
                    "delay_ms": health["batch"]["delay_ms"],
                    "sampling_ratio": health["sampling_ratio"],
                }
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    async def tune(self, **override: float) -> None:
        """Changes them in every worker of both services; of several overrides at once the last one stays.

        Raises:
            ControlError: a service refused, or did not answer.
        """
        async with (
            self._one_override,
            httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client,
        ):
            for service, url in self._urls.items():
                try:
                    answer = await client.put(f"{url}/tuning", json=override)
                except httpx.HTTPError as error:
                    raise ControlError(f"the {service} does not answer") from error
                if not answer.is_success:
                    raise ControlError(f"the {service} refuses: {answer.text[:200]}")

    async def _run_burst(self) -> tuple[int, str]:
        command = [sys.executable, "-m", "loadtest", "run"]
        command += ["--users", f"{BURST_USERS}", "--rate", f"{BURST_RATE}", "--seconds", f"{BURST_SECONDS}"]
        # A session of its own: it is ended by name, and ends its own processes.
        self._burst = burst = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            words, _ = await burst.communicate()
        finally:
            self._burst = None
        return await burst.wait(), words.decode(errors="replace")

    async def _do(self, act: Callable[[str], bool], part: str) -> None:
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(act, part)
            except StackError as error:
                raise ControlError(str(error)) from error
