"""Cost model, front and recommendation of a sweep, on synthetic runs whose answer is known."""

import numpy as np
import pytest
from support.cell_runs import EXPORT_US, NOW, QUICK, SMALL, SPAN_US, analysed, modelled, run, runs

from loadtest.statistics import fit_line
from loadtest.tune.cost import _fit_each, fit_cost
from loadtest.tune.plan import Cell
from loadtest.tune.report import verdicts_of

TINY = Cell(batch=8, delay_ms=200, compression="none")


def everything(*cells: Cell) -> list:
    """Returns modelled runs of these cells."""
    return [each for cell in cells for each in modelled(cell)]


def test_cost_of_exports_and_spans_is_found() -> None:
    """Both parts of the model come back from runs that were made with it, with intervals around them."""
    cells = (NOW, QUICK, SMALL, TINY)
    model = analysed(everything(*cells), *cells).model("none")
    assert model is not None
    assert model.export_us.value == pytest.approx(EXPORT_US, rel=0.05)
    assert model.span_us.value == pytest.approx(SPAN_US, rel=0.05)
    assert model.export_us.low <= EXPORT_US <= model.export_us.high
    assert model.knee_spans == pytest.approx(EXPORT_US / SPAN_US * 4, rel=0.1)
    assert model.at(100) == pytest.approx(EXPORT_US / 100 + SPAN_US, rel=0.05)
    assert model.r_squared > 0.99
    assert 0 < model.residual_us < 2
    assert abs(model.residual(modelled(NOW)[1])) < 1


def test_each_compression_has_its_own_model() -> None:
    """Compressing costs CPU a span."""
    packed = [cell.model_copy(update={"compression": "gzip"}) for cell in (QUICK, SMALL, TINY)]
    made = everything(NOW, QUICK, SMALL)
    made += [
        each.model_copy(update={"cpu_us_per_span": each.cpu_us_per_span + 5}) for each in everything(*packed)
    ]
    tuning = analysed(made, NOW, QUICK, SMALL, *packed)
    plain, gzip = tuning.model("none"), tuning.model("gzip")
    assert plain is not None
    assert gzip is not None
    assert gzip.span_us.value - plain.span_us.value == pytest.approx(5, abs=1)


def test_one_size_is_no_model() -> None:
    """Nor are exports of nothing."""
    random = np.random.default_rng(1)
    assert fit_cost(modelled(NOW), "none", random) is None
    assert fit_cost([*modelled(NOW)[:1], *modelled(SMALL)[:1]], "none", random) is None
    nothing = runs(SMALL, cpu=float("nan"), p95=1, batch_spans=0)
    assert fit_cost([*modelled(NOW), *nothing], "none", random) is None


def test_cheapest_that_is_fresh_enough_is_recommended() -> None:
    """The settings are its own, and the queue holds its peak."""
    cells = (NOW, QUICK, SMALL, TINY)
    best = analysed(everything(*cells), *cells, freshness=0.5).recommendation
    assert best is not None
    assert (best.cell, best.is_better) == (QUICK, True)
    assert best.variables == {
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_MAX_QUEUE_SIZE": "2560",
    }
    assert best.queue_spans == round(450 * 4.02) + 512
    assert (
        "512 spans, 200 ms, none is the cheapest of those that are surely accepted within 0.5 s"
        in best.reason
    )
    assert "the time of those 95 % x 0.2 (0.19" in best.reason


def test_with_more_time_the_larger_batches_are_recommended() -> None:
    """Not the shortest delay whatever is asked: cost decides."""
    cells = (SMALL, QUICK, NOW)
    tuning = analysed(everything(*cells), *cells, freshness=2)
    assert [each.cell for each in tuning.front] == [SMALL, QUICK, NOW]
    assert tuning.recommendation is not None
    assert (tuning.recommendation.cell, tuning.recommendation.is_better) == (NOW, True)


def test_freshness_must_be_sure() -> None:
    """A cell whose interval reaches beyond what was asked for is not recommended."""
    made = [*runs(NOW, cpu=10, p95=2.0), *runs(QUICK, cpu=8, p95=0.499), *runs(SMALL, cpu=20, p95=0.1)]
    best = analysed(made, NOW, QUICK, SMALL, freshness=0.5).recommendation
    assert best is not None
    assert best.cell == SMALL


def test_without_a_wish_there_is_the_front_alone() -> None:
    """Each of its cells has its settings, and the reason says how to choose."""
    tuning = analysed(everything(NOW, QUICK, SMALL), NOW, QUICK, SMALL, freshness=None)
    assert tuning.recommendation is None
    assert "make tune FRESHNESS=1s" in tuning.why_nothing
    assert [each.variables["OTEL_BSP_SCHEDULE_DELAY"] for each in tuning.front] == ["200", "200", "1000"]


def test_wish_that_no_cell_fulfils_is_said() -> None:
    """The freshest cell is named, with what it takes."""
    tuning = analysed(everything(NOW, QUICK), NOW, QUICK, freshness=0.01)
    assert tuning.recommendation is None
    assert tuning.why_nothing.startswith(
        "No cell is surely accepted within 0.01 s: the freshest, 512 spans, 200"
    )


def test_staler_cell_that_is_not_cheaper_is_not_on_the_front() -> None:
    """Nor is a dearer one that is as fresh; nor one that is cheaper within noise only."""
    dear = Cell(batch=64, delay_ms=200, compression="gzip")
    stale = Cell(batch=64, delay_ms=1000, compression="gzip")
    made = [
        *runs(NOW, cpu=9, p95=1.0),
        *runs(QUICK, cpu=12, p95=0.25),
        *runs(dear, cpu=14, p95=0.249),
        *runs(stale, cpu=11.95, p95=0.9),
    ]
    tuning = analysed(made, NOW, QUICK, dear, stale)
    assert [each.cell for each in tuning.front] == [QUICK, NOW]
    assert {each.cell for each in tuning.cells if each.is_on_front} == {NOW, QUICK}


def test_cells_in_small_steps_are_not_lost() -> None:
    """A cell that beats the front's last beyond noise is on it, though no step between them did."""
    steps = [Cell(batch=100 + number, delay_ms=100 * number, compression="none") for number in range(1, 6)]
    made = [each for n, cell in enumerate(steps) for each in runs(cell, cpu=10 - 0.12 * n, p95=0.2 * (n + 1))]
    front = [each.cell for each in analysed(made, *steps).front]
    assert front[0] == steps[0]
    assert 1 < len(front) < len(steps)


def test_difference_within_noise_changes_nothing() -> None:
    """A median that is better by chance is not better, and the star says that it stays."""
    noisy = [
        run(QUICK, repeat, cpu=cpu, p95=p95)
        for repeat, (cpu, p95) in enumerate(((9, 0.7), (10, 0.95), (11, 1.2)))
    ]
    tuning = analysed([*runs(NOW, cpu=10, p95=1.0), *noisy], NOW, QUICK)
    assert tuning.recommendation is not None
    assert (tuning.recommendation.cell, tuning.recommendation.is_better) == (NOW, False)
    assert "No other cell was better than the defaults" in tuning.recommendation.reason


def test_of_many_cells_that_are_no_better_none_is_recommended() -> None:
    """Of eighteen with three runs each, the best by chance is seldom called better."""
    noise = np.random.default_rng(3)
    cells = [NOW, *(NOW.model_copy(update={"batch": 600 + number}) for number in range(18))]
    called_better = 0
    for _ in range(20):
        made = [
            run(cell, repeat, cpu=10 * noise.lognormal(0, 0.03), p95=noise.lognormal(0, 0.02))
            for cell in cells
            for repeat in range(3)
        ]
        best = analysed(made, *cells).recommendation
        assert best is not None
        called_better += best.is_better
    assert called_better <= 3


def test_one_run_of_each_proves_nothing() -> None:
    """Nor does one pair of runs in the same repeat, since noise cannot be estimated."""
    once = [run(NOW, 0, cpu=10, p95=1.0), run(QUICK, 0, cpu=8, p95=0.2)]
    for made in (once, [*once, run(NOW, 1, cpu=10, p95=1.0), run(QUICK, 2, cpu=8, p95=0.2)]):
        best = analysed(made, NOW, QUICK).recommendation
        assert best is not None
        assert not best.is_better


def test_invalid_cell_pushes_none_off_the_front() -> None:
    """A single valid run is not a measurement."""
    bad = runs(QUICK, cpu=1, p95=0.01)
    bad[1:] = [each.model_copy(update={"invalid_because": ("the breaker opened",)}) for each in bad[1:]]
    tuning = analysed([*runs(NOW, cpu=10, p95=1.0), *bad], NOW, QUICK)
    assert [each.cell for each in tuning.cells if each.is_on_front] == [NOW]


def test_invalid_cell_is_never_recommended() -> None:
    """Its figures do not matter, and its verdict has the reason."""
    bad = runs(QUICK, cpu=1, p95=0.01, invalid_because=("the generator is saturated: 99% of a core",))
    tuning = analysed([*runs(NOW, cpu=10, p95=1.0), *bad], NOW, QUICK)
    assert tuning.recommendation is not None
    assert tuning.recommendation.cell == NOW
    (verdict,) = [each for each in verdicts_of(tuning) if each.promise == str(QUICK)]
    assert (verdict.judgement, verdict.figure) == ("INVALID", "the generator is saturated: 99% of a core")


def test_one_bad_run_does_not_spoil_a_cell() -> None:
    """The valid runs are used, and counted."""
    made = runs(QUICK, cpu=10, p95=0.25)
    made[0] = made[0].model_copy(update={"invalid_because": ("other processes used 1.00 cores",)})
    tuning = analysed([*runs(NOW, cpu=10, p95=1.0), *made], NOW, QUICK)
    cell = tuning.of(QUICK)
    assert (cell.is_valid, cell.valid_runs, cell.runs) == (True, 2, 3)


def test_without_a_valid_default_nothing_is_recommended() -> None:
    """There is nothing to compare with."""
    bad = runs(NOW, cpu=10, p95=1.0, invalid_because=("the breaker opened",))
    tuning = analysed([*bad, *runs(QUICK, cpu=10, p95=0.25)], NOW, QUICK)
    assert tuning.recommendation is None
    assert "could not be measured properly" in tuning.why_nothing


def test_rows_are_fitted_as_a_line_is() -> None:
    """Also where a part would be below 0; rows of one size have no line."""
    random = np.random.default_rng(5)
    x = random.uniform(0.01, 0.1, (40, 6))
    y = random.uniform(-20, 200, (40, 1)) * x + random.uniform(-9, 20, (40, 1)) + random.normal(0, 1, (40, 6))
    y = np.maximum(y, 0.1)
    slopes, intercepts = _fit_each(x, y)
    for row in range(40):
        line = fit_line(x[row], y[row])
        assert slopes[row] == pytest.approx(line.each, abs=1e-9)
        assert intercepts[row] == pytest.approx(line.fixed, abs=1e-9)
    assert (slopes == 0).any()
    assert (intercepts == 0).any()
    assert np.isnan(_fit_each(np.full((1, 3), 0.1), y[:1, :3])[0][0])
