"""The page's actions on the stack: killing and starting parts, a burst of load, tuning the batching.

Parts are controlled through the same Runtime as by `make`, on threads, because the calls block.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import httpx

from stack.errors import StackError
from stack.runtime import PartState, PartStatus, Runtime
from stack.service_variables import authorization
from stack.services import STOREFRONT, urls_of_services
from stack.settings import ROOT, StackSettings
from telemetry.health.report import read_report

BURST_USERS, BURST_RATE, BURST_SECONDS = 20, 60, 30
_TIMEOUT_SECONDS = 3.0
_FAILED_REQUESTS = 1
"""The load test's exit status if requests got unexpected responses."""
_INTERRUPTED = {130, -signal.SIGTERM}
_LINES_SHOWN = 3


class ControlError(Exception):
    """A requested action failed; the message is shown on the page."""


class Control:
    """The page's actions. Belongs to one event loop.

    Args:
        settings: the stack's settings.
        runtime: the runtime whose parts are controlled.
    """

    def __init__(self, settings: StackSettings, runtime: Runtime) -> None:
        self._urls = urls_of_services(settings)
        self._authorization = authorization(settings)
        self._environment = {**os.environ, **settings.variables()}
        self._runtime = runtime
        self._one_at_a_time = asyncio.Lock()
        self._one_override = asyncio.Lock()
        self._one_burst = asyncio.Lock()
        self._burst: asyncio.subprocess.Process | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an action on a part is in progress."""
        return self._one_at_a_time.locked()

    async def statuses(self) -> list[PartStatus]:
        """Returns the current status of every part, or nothing if the runtime fails to determine it."""
        try:
            return await asyncio.to_thread(self._runtime.status)
        except StackError:
            return []

    async def kill(self, part: str) -> None:
        """Kills a part.

        Raises:
            ControlError: the part could not be killed.
        """
        await self._do(self._runtime.kill, part)

    async def freeze(self, part: str) -> None:
        """Freezes a part.

        Raises:
            ControlError: the part could not be frozen.
        """
        await self._do(self._runtime.pause, part)

    async def start(self, part: str, state: PartState) -> None:
        """Starts a part, or resumes it if it is frozen.

        Raises:
            ControlError: the part could not be started or resumed.
        """
        await self._do(self._runtime.resume if state is PartState.PAUSED else self._runtime.start, part)

    @property
    def has_burst(self) -> bool:
        """Whether a burst of load is running."""
        return self._one_burst.locked()

    async def burst(self) -> None:
        """Runs shoppers for half a minute, or until `end_burst`; does nothing if a burst is running already.

        Raises:
            ControlError: the load test failed, or its requests did.
        """
        if self.has_burst:
            return
        async with self._one_burst:
            status, words = await self._run_burst()
        if status == _FAILED_REQUESTS:
            raise ControlError("some requests of the burst failed: see Traces, with errors only")
        if status not in {0, *_INTERRUPTED}:
            lines = [line for line in words.splitlines() if line.strip()]
            raise ControlError(" ".join(["the burst failed:", *lines[-_LINES_SHOWN:]]))

    def end_burst(self) -> None:
        """Ends the running burst, if any."""
        if self._burst is not None:
            self._burst.terminate()

    async def tuning(self) -> dict[str, float | None] | None:
        """Returns the storefront's effective batch size, delay and ratio, or None if they cannot be changed.

        They are read from its health report, which is never traced: an open page must not cause traces.
        """
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
                answer = await client.get(f"{self._urls[STOREFRONT.name]}/health/telemetry")
            health = read_report(answer.content)
        except (httpx.HTTPError, ValueError):
            return None
        if health.service.environment != "development":
            return None
        return {
            "batch_size": health.batch.size,
            "delay_ms": health.batch.delay_ms,
            "sampling_ratio": health.sampling_ratio,
        }

    async def tune(self, **override: float) -> None:
        """Overrides settings in every worker of both services; of concurrent overrides the last one wins.

        Raises:
            ControlError: a service refused the override, or did not answer.
        """
        async with (
            self._one_override,
            httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client,
        ):
            for service, url in self._urls.items():
                try:
                    answer = await client.put(f"{url}/tuning", json=override, headers=self._authorization)
                except httpx.HTTPError as error:
                    raise ControlError(f"the {service} does not answer") from error
                if not answer.is_success:
                    raise ControlError(f"the {service} refuses: {answer.text[:200]}")

    async def _run_burst(self) -> tuple[int, str]:
        command = [sys.executable, "-m", "loadtest", "run"]
        command += ["--users", f"{BURST_USERS}", "--rate", f"{BURST_RATE}", "--seconds", f"{BURST_SECONDS}"]
        # In its own session: only `end_burst` signals it, and it ends its own processes.
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
