"""Plan, journal, options and gates of a sweep."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.cell_runs import NOW, QUICK, SMALL, plan, run
from support.readings import load_result, reading
from typer.testing import CliRunner

from loadtest.__main__ import commands
from loadtest.lab import Lab
from loadtest.options import duration_seconds, numbers, whole_numbers, words
from loadtest.tune import command
from loadtest.tune.gates import reasons_against
from loadtest.tune.measuring import Exports
from loadtest.tune.plan import FULL_GRID, QUICK_GRID, Journal, plan_grid, seconds_for
from stack.settings import load_settings
from telemetry.errors import ConfigurationError


def test_every_cell_is_run_in_every_repeat_in_random_order() -> None:
    """Each repeat has all cells, so that drift affects all alike."""
    sweep = plan(NOW, QUICK, SMALL)
    order = sweep.order
    assert sorted(order, key=str) == sorted(((cell, it) for cell in sweep.cells for it in range(3)), key=str)
    assert [repeat for _, repeat in order] == [0] * 3 + [1] * 3 + [2] * 3
    assert sweep.order == order
    assert any(plan(NOW, QUICK, SMALL, seed=seed).order != order for seed in range(2, 6))


def test_default_is_in_every_grid_once() -> None:
    """The others are compared with it."""
    grid = plan_grid(batches=(32, 512), delays_ms=(200,), compressions=("none",), default=NOW)
    assert grid == (SMALL, QUICK, NOW)
    assert plan_grid(batches=(512,), delays_ms=(1000,), compressions=("none",), default=NOW) == (NOW,)


def test_delays_follow_the_freshness_that_is_asked_for() -> None:
    """The longest leaves a fifth of it for sending, and several of it are measured."""
    assert FULL_GRID.delays_within(None) == FULL_GRID.delays_ms
    assert FULL_GRID.delays_within(1.0) == (80, 320, 800)
    assert QUICK_GRID.delays_within(10.0) == (1600, 8000)
    assert QUICK_GRID.delays_within(0.001) == (1, 1)
    assert seconds_for(FULL_GRID.delays_ms) == 8
    assert seconds_for((1600, 8000)) == 40


def test_sweep_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """It keeps its order and measures a torn line again; a finished sweep is not resumed."""
    folder = tmp_path / "tune-1"
    folder.mkdir()
    begun = Journal.begin(folder, plan(NOW, QUICK, seed=5))
    (first, repeat), *rest = begun.left()
    begun.add(run(first, repeat, cpu=1, p95=1))
    with (folder / "runs.jsonl").open("a") as file:
        file.write('{"cell": {"bat')
    found = Journal.find_unfinished(tmp_path, plan(NOW, QUICK, seed=99))
    assert found is not None
    assert found.left() == rest
    found.add(run(*rest[0], cpu=2, p95=2))
    assert [it.cpu_us_per_span for it in found.runs()] == [1, 2]
    assert Journal.find_unfinished(tmp_path, plan(NOW, SMALL)) is None, "another plan"
    found.finish(found.plan)
    assert Journal.find_unfinished(tmp_path, plan(NOW, QUICK)) is None


@pytest.mark.parametrize("changes", [{"code": "b"}, {"configuration": {"OTEL_TRACES_SAMPLER_ARG": "0.1"}}])
def test_sweep_of_other_code_or_settings_is_not_gone_on_with(changes: dict[str, Any], tmp_path: Path) -> None:
    """Its cells are not comparable with the new ones."""
    folder = tmp_path / "tune-1"
    folder.mkdir()
    begun = plan(NOW, QUICK).model_copy(update={"code": "a"})
    Journal.begin(folder, begun)
    assert Journal.find_unfinished(tmp_path, begun) is not None
    assert Journal.find_unfinished(tmp_path, begun.model_copy(update=changes)) is None


@pytest.mark.parametrize(
    ("file", "text"), [("plan.json", ""), ("plan.json", '{"cells": []}'), ("runs.jsonl", "\x00\x00\n")]
)
def test_damaged_sweep_is_not_gone_on_with(file: str, text: str, tmp_path: Path) -> None:
    """An older intact sweep is resumed instead."""
    for name in ("tune-1", "tune-2"):
        (tmp_path / name).mkdir()
        Journal.begin(tmp_path / name, plan(NOW, QUICK))
    (tmp_path / "tune-2" / file).write_text(text)
    found = Journal.find_unfinished(tmp_path, plan(NOW, QUICK))
    assert found is not None
    assert found.folder.name == "tune-1"


@given(st.lists(st.integers(1, 10_000), max_size=5))
def test_lists_of_numbers_are_read(values: list[int]) -> None:
    """They are written as on a command line."""
    assert numbers("BATCHES", ", ".join(map(str, values))) == tuple(values)


@pytest.mark.parametrize("text", ["64,many", "0", "-1", "inf", "nan"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    """The message has the value and the remedy."""
    with pytest.raises(typer.BadParameter, match=f"BATCHES='{text}': it is a list of numbers above 0"):
        numbers("BATCHES", text)


def test_part_of_a_span_is_no_batch() -> None:
    """It is not rounded to a whole number either."""
    assert whole_numbers("BATCHES", "64,512") == (64, 512)
    with pytest.raises(typer.BadParameter, match=r"BATCHES='64,0.5': it is a list of whole numbers"):
        whole_numbers("BATCHES", "64,0.5")


def test_batch_that_no_queue_holds_is_refused_before_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a service would fail to start in the middle of it."""
    runtime = SimpleNamespace(kind="native")
    monkeypatch.setattr(command, "end_on_signals", lambda: None)
    monkeypatch.setattr(Lab, "open", lambda _: Lab(load_settings(), runtime))
    asked = ["tune", "--batches", "1000000", "--reports", f"{tmp_path}"]
    refused = CliRunner().invoke(commands("tune"), asked)
    assert isinstance(refused.exception, ConfigurationError)
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE (1000000) must not exceed" in str(refused.exception)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("250ms", 0.25), (" .5 s ", 0.5), ("1.5s", 1.5), ("", None), (" ", None)],
)
def test_freshness_is_a_time_with_its_unit(text: str, seconds: float | None) -> None:
    """None is asked for by default."""
    assert duration_seconds("FRESHNESS", text) == seconds


@pytest.mark.parametrize("text", ["1", "soon", "0s", "-1s", "1m", "1e3s", "ms", "inf s"])
def test_what_is_no_freshness_is_refused_by_name(text: str) -> None:
    """A bare number is refused too: delays are in milliseconds."""
    with pytest.raises(typer.BadParameter, match=f"FRESHNESS='{text}': it is a time above 0 with its unit"):
        duration_seconds("FRESHNESS", text)


def test_unknown_compression_is_refused_by_name() -> None:
    """The message lists the known ones."""
    assert words("COMPRESSIONS", "none, gzip", ("none", "gzip")) == ("none", "gzip")
    with pytest.raises(typer.BadParameter, match="'zstd' is not one of none, gzip"):
        words("COMPRESSIONS", "none,zstd", ("none", "gzip"))


LOAD = load_result(requests=640, seconds=8)
GOOD = [
    reading(0),
    reading(8, ended=3_000, delivered=2_900),
    reading(9, ended=3_000, delivered=3_000),
]
LEAKY = reading(9.5, ended=3_000, delivered=2_999, in_memory=0)
EXPORTS = Exports((), (), 0.1, 10, 3_000, 800_000, {"encode": 0.02, "send": 0.01})
SATURATED = LOAD.model_copy(update={"generator_cpu_share": 0.97})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        (
            {"load": SATURATED},
            "the generator is saturated: 97% of a core",
        ),
        ({"achieved_share": 0.989}, "the generator made 98.9% of the intended requests"),
        ({"load": LOAD.model_copy(update={"failures": 3})}, "3 requests failed"),
        ({"load": LOAD.model_copy(update={"script_errors": ["KeyError"]})}, "1 requests failed"),
        ({"other_cpu_cores": 0.75}, "other processes used 0.75 cores"),
        ({"other_cpu_cores": 0.75, "most_other_cores": 1.0}, None),
        ({"readings": []}, "the service returned no"),
        (
            {"readings": [*GOOD, LEAKY]},
            "did not add up in 1",
        ),
        (
            {"exports": replace(EXPORTS, cpu_seconds={"push": 1.0})},
            "the service's /metrics has no CPU of telemetry",
        ),
        (
            {"exports": replace(EXPORTS, spans=0, exports=0, cpu_seconds={})},
            "nothing was exported in the measured time",
        ),
        ({"readings": GOOD[:2]}, "100 spans were not sent"),
        ({"readings": [reading(0), reading(1, breaker="open"), *GOOD[1:]]}, "the breaker opened"),
        ({"readings": [GOOD[0], reading(9, ended=50, delivered=50)]}, "only 50 spans ended"),
    ],
)
def test_gates_let_pass_only_what_measures(changes: dict[str, Any], reason: str | None) -> None:
    """Each gate rejects on its own, with its figure."""
    usual: dict[str, Any] = {
        "load": LOAD,
        "achieved_share": 1.0,
        "readings": GOOD,
        "exports": EXPORTS,
        "other_cpu_cores": 0.1,
    }
    found = reasons_against(**{**usual, **changes})
    assert len(found) == (reason is not None)
    assert reason is None or reason in found[0]
