"""Faults on demand: errors and latency that a developer requests, to see what telemetry shows of them.

Outside development neither the routes nor the dependency exist. Faults affect only the shop's own
routes below `/v1`, never health, metrics or the admin's pages.
"""

import asyncio
import random
from pathlib import Path
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Request, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from service.authentication import API_KEY_IN_DOCS
from telemetry.decorators import track_errors


class FaultPlan(BaseModel):
    """The faults that a service injects; none by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of requests answered with 500."""

    latency_ms: int = Field(default=0, ge=0, le=10_000)
    """Delay added to each request, including those that fail."""


class InjectedFaultError(Exception):
    """An error that was injected on request."""


class Faults:
    """The current fault plan, kept in a file so that every worker of the service follows it.

    It stays in effect, even across restarts, until another plan is written or the file is removed;
    `make doctor` warns of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> FaultPlan:
        """Returns the plan in force."""
        try:
            return FaultPlan.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return FaultPlan()

    def write(self, plan: FaultPlan) -> FaultPlan:
        """Puts a plan in force, at once and for all workers."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{uuid4().hex}")
        draft.write_text(plan.model_dump_json())
        draft.replace(self._path)
        return plan

    @track_errors
    async def strike(self) -> None:
        """Delays the request and may fail it, according to the plan.

        Raises:
            InjectedFaultError: this request was chosen to fail.
        """
        plan = await run_in_threadpool(self.read)
        if plan.latency_ms:
            await asyncio.sleep(plan.latency_ms / 1000)
        if random.random() < plan.error_rate:  # noqa: S311 - which request fails is no secret
            raise InjectedFaultError(f"error_rate is {plan.error_rate:g}")


async def _answer_injected_fault(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        {"detail": f"injected fault: {error}"}, status_code=status.HTTP_500_INTERNAL_SERVER_ERROR
    )


def include_with_faults(app: FastAPI, routes: APIRouter, plan_file: Path) -> None:
    """Adds the routes to the app, subject to faults, and `GET` and `PUT /faults` to control them."""
    faults = Faults(plan_file)
    app.include_router(routes, dependencies=[Depends(faults.strike)])
    app.add_api_route("/faults", faults.read, methods=["GET"])
    app.add_api_route("/faults", faults.write, methods=["PUT"], dependencies=[API_KEY_IN_DOCS])
    app.add_exception_handler(InjectedFaultError, _answer_injected_fault)
