"""Gates, resumption and recommendation of a sweep, on synthetic runs whose answer is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.readings import load_result, reading
from typer.testing import CliRunner

from loadtest.__main__ import commands
from loadtest.lab import Lab
from loadtest.options import numbers, whole_numbers, words
from loadtest.statistics import Line
from loadtest.tune import command
from loadtest.tune.analysis import Tuning, analyse, fit_exports
from loadtest.tune.gates import reasons_against
from loadtest.tune.plan import Cell, CellRun, Journal, Plan, plan_grid
from loadtest.tune.report import draw_tuning, recommended_env, verdicts_of, write_report
from stack.settings import load_settings
from telemetry.errors import ConfigurationError

NOW = Cell(batch=512, delay_ms=1000, compression="none")
QUICK = Cell(batch=512, delay_ms=200, compression="none")
SMALL = Cell(batch=32, delay_ms=200, compression="none")
LINE = Line(fixed=2.0, each=0.01, residuals=(), r_squared=1.0)


def plan(*cells: Cell, repeats: int = 3, seed: int = 1) -> Plan:
    """Returns a sweep of these cells; the first is the current configuration."""
    return Plan(
        cells=cells,
        default=cells[0],
        repeats=repeats,
        rate=80,
        users=20,
        warm_up_seconds=2,
        measured_seconds=8,
        runtime="native",
        seed=seed,
    )


def run(cell: Cell, repeat: int, *, cpu: float, p95: float, **changes: Any) -> CellRun:
    """Returns a valid run with these figures."""
    batch = min(cell.batch, 400 * cell.delay_ms / 1000)
    figures: dict[str, Any] = {
        "cell": cell,
        "repeat": repeat,
        "invalid_because": (),
        "spans": 3_200,
        "spans_per_second": 400,
        "peak_spans_per_second": 450,
        "cpu_us_per_span": cpu,
        "batch_spans": batch,
        "export_ms": LINE.at(batch),
        "export_p50_ms": 3,
        "export_p99_ms": 20,
        "freshness_p50_seconds": p95 / 2,
        "freshness_p95_seconds": p95,
        "queue_high_water": 500,
        "dropped": 0,
        "bytes_per_span": 280,
        "rss_bytes": 100 * 2**20,
        "request_p99_ms": 20,
        "achieved_share": 1,
        "generator_cpu_share": 0.2,
        "other_cpu_cores": 0.05,
    }
    return CellRun(**{**figures, **changes})


def runs(cell: Cell, *, cpu: float, p95: float, **changes: Any) -> list[CellRun]:
    """Returns three runs with a little noise."""
    return [
        run(cell, repeat, cpu=cpu * noise, p95=p95 * noise, **changes)
        for repeat, noise in enumerate((0.99, 1.0, 1.01))
    ]


def analysed(made: list[CellRun], *cells: Cell) -> Tuning:
    """Returns the analysis of a sweep with these runs."""
    return analyse(plan(*cells), made, detection_seconds=4, least_queue=2_048)


def test_fresher_cell_at_the_same_cost_is_recommended() -> None:
    """The recommendation has the gain and the settings."""
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *runs(QUICK, cpu=910, p95=0.25)], NOW, QUICK)
    best = tuning.recommendation
    assert best is not None
    assert (best.cell, best.is_better) == (QUICK, True)
    assert best.variables == {
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_MAX_QUEUE_SIZE": "2560",
    }
    assert "x 0.25 (0.25 to 0.25) of the time" in best.reason
    assert best.queue_spans == round(450 * 4.02) + 512


def test_fresher_cell_that_costs_too_much_is_not() -> None:
    """The default stays, and the reason says so."""
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *runs(SMALL, cpu=1_100, p95=0.1)], NOW, SMALL)
    best = tuning.recommendation
    assert best is not None
    assert (best.cell, best.is_better) == (NOW, False)
    assert "No other cell was better than the defaults" in best.reason


def test_cheaper_cell_is_recommended_where_none_is_fresher() -> None:
    """It may be only slightly staler."""
    large = Cell(batch=2_048, delay_ms=1000, compression="none")
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *runs(large, cpu=800, p95=1.02)], NOW, large)
    assert tuning.recommendation is not None
    assert (tuning.recommendation.cell, tuning.recommendation.is_better) == (large, True)


def test_difference_within_noise_changes_nothing() -> None:
    """A median that is better by chance is not better."""
    noisy = [run(QUICK, repeat, cpu=900, p95=p95) for repeat, p95 in enumerate((0.7, 0.85, 1.2))]
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *noisy], NOW, QUICK)
    assert tuning.recommendation is not None
    assert not tuning.recommendation.is_better


def test_of_many_cells_that_are_no_better_none_is_recommended() -> None:
    """Of eighteen with three runs each, the best by chance is seldom called better."""
    noise = np.random.default_rng(3)
    cells = [NOW, *(NOW.model_copy(update={"batch": 600 + number}) for number in range(18))]
    called_better = 0
    for _ in range(20):
        made = [
            run(cell, repeat, cpu=900 * noise.lognormal(0, 0.03), p95=noise.lognormal(0, 0.02))
            for cell in cells
            for repeat in range(3)
        ]
        best = analysed(made, *cells).recommendation
        assert best is not None
        called_better += best.is_better
    assert called_better <= 3


def test_one_run_of_each_proves_nothing() -> None:
    """Nor does one pair of runs in the same repeat, since noise cannot be estimated."""
    once = [run(NOW, 0, cpu=900, p95=1.0), run(QUICK, 0, cpu=800, p95=0.2)]
    best = analysed(once, NOW, QUICK).recommendation
    assert best is not None
    assert not best.is_better
    best = analysed([*once, run(NOW, 1, cpu=900, p95=1.0), run(QUICK, 2, cpu=800, p95=0.2)], NOW, QUICK)
    assert best.recommendation is not None
    assert not best.recommendation.is_better


def test_invalid_cell_pushes_none_off_the_front() -> None:
    """A single valid run is not a measurement."""
    bad = runs(QUICK, cpu=100, p95=0.01)
    bad[1:] = [each.model_copy(update={"invalid_because": ("the breaker opened",)}) for each in bad[1:]]
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *bad], NOW, QUICK)
    assert [each.cell for each in tuning.cells if each.is_on_front] == [NOW]


def test_invalid_cell_is_never_recommended() -> None:
    """Its figures do not matter, and its verdict has the reason."""
    bad = runs(QUICK, cpu=100, p95=0.01, invalid_because=("the generator is saturated: 99% of a core",))
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *bad], NOW, QUICK)
    assert tuning.recommendation is not None
    assert tuning.recommendation.cell == NOW
    (verdict,) = [each for each in verdicts_of(tuning) if each.promise == str(QUICK)]
    assert (verdict.judgement, verdict.figure) == ("INVALID", "the generator is saturated: 99% of a core")


def test_one_bad_run_does_not_spoil_a_cell() -> None:
    """The valid runs are used, and counted."""
    made = runs(QUICK, cpu=900, p95=0.25)
    made[0] = made[0].model_copy(update={"invalid_because": ("other processes used 1.00 cores",)})
    tuning = analysed([*runs(NOW, cpu=900, p95=1.0), *made], NOW, QUICK)
    (cell,) = [each for each in tuning.cells if each.cell == QUICK]
    assert (cell.is_valid, cell.valid_runs, cell.runs) == (True, 2, 3)


def test_without_a_valid_default_nothing_is_recommended() -> None:
    """There is nothing to compare with."""
    bad = runs(NOW, cpu=900, p95=1.0, invalid_because=("the breaker opened",))
    tuning = analysed([*bad, *runs(QUICK, cpu=900, p95=0.25)], NOW, QUICK)
    assert tuning.recommendation is None
    with pytest.raises(ValueError, match="could not be measured properly"):
        recommended_env(tuning)


def test_cost_of_an_export_is_fitted_to_all_valid_runs() -> None:
    """The knee follows from the fit."""
    made = [*runs(NOW, cpu=900, p95=1.0), *runs(QUICK, cpu=910, p95=0.25), *runs(SMALL, cpu=950, p95=0.2)]
    tuning = analysed(made, NOW, QUICK, SMALL)
    assert tuning.fixed_ms == pytest.approx(LINE.fixed)
    assert tuning.each_us == pytest.approx(LINE.each * 1_000)
    assert tuning.knee_spans == pytest.approx(LINE.fixed / LINE.each * 4)
    assert fit_exports(runs(NOW, cpu=1, p95=1), "none") is None, "one size is no line"
    nothing = runs(NOW, cpu=900, p95=1.0, batch_spans=0, export_ms=0)
    fitted = fit_exports([*made, *nothing], "none")
    assert fitted is not None
    assert fitted.fixed == pytest.approx(LINE.fixed), "no export is no point"


def test_front_leaves_out_what_is_beaten() -> None:
    """Cells are compared in cost and freshness."""
    worse = Cell(batch=64, delay_ms=1000, compression="gzip")
    made = [*runs(NOW, cpu=900, p95=1.0), *runs(QUICK, cpu=910, p95=0.25), *runs(worse, cpu=950, p95=1.0)]
    tuning = analysed(made, NOW, QUICK, worse)
    assert {each.cell for each in tuning.cells if each.is_on_front} == {NOW, QUICK}


def test_report_stands_alone_and_names_the_recommendation(tmp_path: Path) -> None:
    """The page needs no network and has a picture; the settings file gives the reason."""
    made = [*runs(NOW, cpu=900, p95=1.0), *runs(QUICK, cpu=910, p95=0.25)]
    tuning = analysed(made, NOW, QUICK)
    page = write_report(plan(NOW, QUICK), made, tuning, tmp_path).read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert tuning.recommendation is not None
    assert "Recommended" in page
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
    settings = (tmp_path / "recommended.env").read_text()
    assert settings.startswith("# With 512 spans, 200 ms, none")
    assert "\nOTEL_BSP_SCHEDULE_DELAY=200\n" in settings


def test_sweep_without_a_valid_run_has_a_report_too(tmp_path: Path) -> None:
    """It says what went wrong."""
    bad = runs(NOW, cpu=900, p95=1.0, invalid_because=("the breaker opened",))
    page = write_report(plan(NOW), bad, analysed(bad, NOW), tmp_path).read_text()
    assert "the breaker opened" in page
    assert not (tmp_path / "recommended.env").exists()
    assert draw_tuning(plan(NOW), bad, analysed(bad, NOW))


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
        ({"readings": []}, "the service returned no"),
        (
            {"readings": [*GOOD, LEAKY]},
            "did not add up in 1",
        ),
        ({"readings": GOOD[:2]}, "100 spans were not sent"),
        ({"readings": [reading(0), reading(1, breaker="open"), *GOOD[1:]]}, "the breaker opened"),
        ({"readings": [GOOD[0], reading(9, ended=50, delivered=50)]}, "only 50 spans ended"),
    ],
)
def test_gates_let_pass_only_what_measures(changes: dict[str, Any], reason: str | None) -> None:
    """Each gate rejects on its own, with its figure."""
    usual: dict[str, Any] = {"load": LOAD, "achieved_share": 1.0, "readings": GOOD, "other_cpu_cores": 0.1}
    found = reasons_against(**{**usual, **changes})
    assert len(found) == (reason is not None)
    assert reason is None or reason in found[0]
