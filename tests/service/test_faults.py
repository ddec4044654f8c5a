"""Faults on demand."""

import asyncio
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.faults import FaultPlan, Faults, InjectedFaultError


def test_nothing_strikes_by_default(tmp_path: Path) -> None:
    """Without a plan every request goes through."""
    asyncio.run(Faults(tmp_path / "faults.json").strike())


def test_error_rate_of_one_strikes_each_request(tmp_path: Path) -> None:
    """The rate is a share of all requests."""
    faults = Faults(tmp_path / "faults.json")
    faults.write(FaultPlan(error_rate=1))

    with pytest.raises(InjectedFaultError, match="error_rate is 1"):
        asyncio.run(faults.strike())


def test_latency_is_added(tmp_path: Path) -> None:
    """A request waits as long as the plan says."""
    faults = Faults(tmp_path / "faults.json")
    faults.write(FaultPlan(latency_ms=50))

    began = time.perf_counter()
    asyncio.run(faults.strike())
    assert time.perf_counter() - began >= 0.05


def test_plan_reaches_the_other_workers(tmp_path: Path) -> None:
    """A plan given to one worker holds for all of them."""
    plan = FaultPlan(error_rate=0.5, latency_ms=10)
    Faults(tmp_path / "shop" / "faults.json").write(plan)

    assert Faults(tmp_path / "shop" / "faults.json").read() == plan


def test_plan_is_replaced_whole(tmp_path: Path) -> None:
    """A new plan leaves nothing of the old one, and no draft behind."""
    faults = Faults(tmp_path / "faults.json")
    faults.write(FaultPlan(error_rate=1, latency_ms=10))
    faults.write(FaultPlan())

    assert faults.read() == FaultPlan()
    assert [path.name for path in tmp_path.iterdir()] == ["faults.json"]


@pytest.mark.parametrize(
    "plan", [{"error_rate": 1.1}, {"error_rate": -0.1}, {"latency_ms": 10_001}, {"latency": 5}]
)
def test_impossible_plan_is_refused(plan: dict[str, float]) -> None:
    """Shares are between 0 and 1, waiting has an end, and a misspelt name is not ignored."""
    with pytest.raises(ValidationError):
        FaultPlan.model_validate(plan)
