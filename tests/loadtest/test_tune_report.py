"""Page, picture and files of settings of a sweep."""

import itertools
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from support.cell_runs import NOW, QUICK, SMALL, analysed, modelled, plan, run, runs

from loadtest.tune.drawing import draw_tuning
from loadtest.tune.labels import Label, place_labels
from loadtest.tune.plan import FULL_GRID, plan_grid
from loadtest.tune.report import explain, front_lines, write_report

CELLS = (NOW, QUICK, SMALL)


def test_report_stands_alone_and_names_the_recommendation(tmp_path: Path) -> None:
    """The page needs no network and has a picture; the settings files give the reason."""
    made = [each for cell in CELLS for each in modelled(cell)]
    tuning = analysed(made, *CELLS, freshness=0.5)
    page = write_report(plan(*CELLS), made, tuning, tmp_path).read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "512 spans, 200 ms, none (recommended)" in page
    assert "lies on the front" in page
    assert "µs an export" in page
    assert "300 (300 to 300)" in page, "the bytes on the wire"
    assert "by `make bench-request`" in page
    assert (tmp_path / "tuning.png").stat().st_size > 10_000
    settings = (tmp_path / "recommended.env").read_text()
    assert settings.startswith("# 512 spans, 200 ms, none is the cheapest")
    assert "\nOTEL_BSP_SCHEDULE_DELAY=200\n" in settings


def test_each_cell_of_the_front_has_its_settings_and_a_line(tmp_path: Path) -> None:
    """Without a wish they are what there is to choose from."""
    made = [each for cell in CELLS for each in modelled(cell)]
    tuning = analysed(made, *CELLS, freshness=None)
    page = write_report(plan(*CELLS), made, tuning, tmp_path).read_text()
    assert "make tune FRESHNESS=1s" in page
    assert not (tmp_path / "recommended.env").exists()
    files = {file.name for file in tmp_path.glob("*.env")}
    assert files == {"front-32-200ms-none.env", "front-512-200ms-none.env", "front-512-1000ms-none.env"}
    assert all(name in page for name in files)
    assert "\nOTEL_BSP_MAX_EXPORT_BATCH_SIZE=32\n" in (tmp_path / "front-32-200ms-none.env").read_text()
    first, *_, last = front_lines(tuning)
    assert first.startswith("front  32 spans, 200 ms, none: 26.8")
    assert last.startswith("front  512 spans, 1000 ms, none: 9.5")


def test_star_that_is_not_on_the_front_is_explained() -> None:
    """The default stays where nothing is better beyond noise."""
    better_by_chance = [
        run(QUICK, repeat, cpu=cpu, p95=p95)
        for repeat, (cpu, p95) in enumerate(((9, 0.7), (10, 0.95), (11, 1.2)))
    ]
    tuning = analysed([*runs(NOW, cpu=10, p95=1.0), *better_by_chance], NOW, QUICK)
    assert not tuning.of(NOW).is_on_front
    assert "The star is not on the front: it is what is used now" in explain(plan(NOW, QUICK), tuning)


def test_sweep_without_a_valid_run_has_a_report_too(tmp_path: Path) -> None:
    """It says what went wrong."""
    bad = runs(NOW, cpu=10, p95=1.0, invalid_because=("the breaker opened",))
    page = write_report(plan(NOW), bad, analysed(bad, NOW), tmp_path).read_text()
    assert "the breaker opened" in page
    assert "No cell could be measured properly" in page
    assert not list(tmp_path.glob("*.env"))


def boxes(figure: Figure, labels: list[Annotation]) -> list:
    """Returns where the labels' texts are."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return [Text.get_window_extent(each, renderer) for each in labels]


def test_labels_of_the_whole_grid_are_apart() -> None:
    """Of nineteen cells, some almost at one point, no label covers another; most find room."""
    cells = plan_grid(
        batches=FULL_GRID.batches,
        delays_ms=FULL_GRID.delays_ms,
        compressions=FULL_GRID.compressions,
        default=NOW,
    )
    cells = (NOW, *(cell for cell in cells if cell != NOW))
    made = [each for cell in cells for each in modelled(cell)]
    figure = draw_tuning(plan(*cells), made, analysed(made, *cells))
    labels = [each for each in figure.axes[0].texts if isinstance(each, Annotation)]
    assert len(labels) >= 15
    assert labels[0].get_text() == "512/1000 (now)"
    for one, other in itertools.combinations(boxes(figure, labels), 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("count", [1, 60])
def test_label_without_room_is_left_out(count: int) -> None:
    """The first ones are drawn, inside the plot and beside the points."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "o")
    labels = place_labels(figure, axes, [Label(f"cell {n}", (0.5, 0.5)) for n in range(count)])
    assert labels[0].get_text() == "cell 0"
    assert len(labels) == 1 if count == 1 else 5 < len(labels) < count
    for one, other in itertools.combinations(boxes(figure, labels), 2):
        assert not one.overlaps(other)
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes(figure, labels))
