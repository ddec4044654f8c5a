"""Checks registered by an application, run with a timeout; failures are reported, never raised."""

import asyncio
import contextvars
import inspect
import os
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Literal

from opentelemetry.instrumentation.utils import suppress_instrumentation

from ..fork import Lock
from .report import CheckResult

Check = Callable[[], object] | Callable[[], Awaitable[object]]
_LONGEST_DETAIL = 300


def register(registration: "Registration") -> None:
    """Adds a check, replacing any with the same name."""
    with _lock:
        _registrations[registration.name] = registration


def unregister(name: str) -> None:
    """Removes a check; harmless if there is none with that name."""
    with _lock:
        _registrations.pop(name, None)


def run_checks() -> dict[str, CheckResult]:
    """Runs all synchronous checks in parallel; asynchronous ones are reported as skipped."""
    checks = _registered()
    runs = {name: _start(registration) for name, registration in checks.items() if not registration.is_async}
    return {
        name: _wait(registration, runs[name]) if name in runs else _skipped(registration)
        for name, registration in checks.items()
    }


async def run_checks_async() -> dict[str, CheckResult]:
    """Runs all checks concurrently, without blocking the event loop."""
    checks = _registered()
    results = await asyncio.gather(*(_run(registration) for registration in checks.values()))
    return dict(zip(checks, results, strict=True))


@dataclass(eq=False)
class Registration:
    """A check, its timeout and its current run."""

    name: str
    check: Check
    timeout_seconds: float
    is_critical: bool
    run: "_ThreadRun | None" = None

    @property
    def is_async(self) -> bool:
        """Whether the check must be awaited."""
        call = getattr(self.check, "__call__", None)  # noqa: B004 - an object may have an async __call__
        return inspect.iscoroutinefunction(self.check) or inspect.iscoroutinefunction(call)

    def report(
        self, status: Literal["ok", "failing", "timeout", "skipped"], seconds: float, detail: str = ""
    ) -> CheckResult:
        """Builds the result of a run that took this long."""
        return CheckResult(
            status=status,
            critical=self.is_critical,
            duration_ms=round(seconds * 1000, 3),
            detail=detail[:_LONGEST_DETAIL],
        )

    def judge(self, seconds: float, returned: object, error: BaseException | None) -> CheckResult:
        """Builds the result of a run that ended by itself."""
        if error is not None:
            # Unlike str(error), this works for an exception that cannot be printed.
            return self.report("failing", seconds, "".join(traceback.format_exception_only(error)).strip())
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            return self.report(
                "failing", seconds, "it returned an awaitable: register the coroutine function"
            )
        if returned is False:
            return self.report("failing", seconds, "the check returned False")
        return self.report("ok", seconds, returned if isinstance(returned, str) else "")


class _ThreadRun:
    """One run of a synchronous check, in a daemon thread: a pool's would keep the process from exiting."""

    def __init__(self, check: Callable[[], object]) -> None:
        self.started = time.perf_counter()
        self.process = os.getpid()
        self.future: Future[object] = Future()
        self.future.set_running_or_notify_cancel()  # it cannot be cancelled from here on
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run, check), name="telemetry-health-check", daemon=True
        ).start()

    def _run(self, check: Callable[[], object]) -> None:
        try:
            with suppress_instrumentation():
                self.future.set_result(check())
        except BaseException as error:  # noqa: BLE001 - every exception is reported
            self.future.set_exception(error)

    def seconds(self) -> float:
        """Returns the seconds since the start."""
        return time.perf_counter() - self.started


def _start(registration: Registration) -> _ThreadRun:
    with _lock:
        run = registration.run
        # A run started by the parent never ends in a forked child.
        if run is None or run.process != os.getpid() or run.future.done():
            run = registration.run = _ThreadRun(registration.check)
        return run


def _wait(registration: Registration, run: _ThreadRun) -> CheckResult:
    left = registration.timeout_seconds - run.seconds()
    wait([run.future], timeout=max(0.0, left))
    return _judge(registration, run)


def _judge(registration: Registration, run: _ThreadRun) -> CheckResult:
    seconds = run.seconds()
    if not run.future.done():
        return registration.report("timeout", seconds, f"still running after {seconds:.1f} s")
    error = run.future.exception()
    return registration.judge(seconds, None if error else run.future.result(), error)


async def _run(registration: Registration) -> CheckResult:
    if not registration.is_async:
        run = _start(registration)
        left = registration.timeout_seconds - run.seconds()
        waiting = asyncio.wrap_future(run.future)
        await asyncio.wait([waiting], timeout=max(0.0, left))
        if not waiting.cancel():
            waiting.exception()  # marked as retrieved here, judged below
        return _judge(registration, run)
    started = time.perf_counter()
    with suppress_instrumentation():  # a task keeps the context that it is created in
        task = asyncio.ensure_future(registration.check())  # type: ignore[call-overload]
    try:
        await asyncio.wait([task], timeout=registration.timeout_seconds)
    finally:
        task.cancel()  # harmless if it is done; otherwise nothing waits for it any more
    seconds = time.perf_counter() - started
    if not task.done():
        return registration.report("timeout", seconds, "it was cancelled")
    if task.cancelled():
        return registration.report("failing", seconds, "it cancelled itself")
    error = task.exception()
    return registration.judge(seconds, None if error else task.result(), error)


def _skipped(registration: Registration) -> CheckResult:
    return registration.report("skipped", 0.0, "asynchronous: await check_telemetry_health_async() to run it")


def _registered() -> dict[str, Registration]:
    with _lock:
        return dict(_registrations)


_lock = Lock()
_registrations: dict[str, Registration] = {}
