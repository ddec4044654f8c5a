"""The analysis of a sweep: figures with intervals, the cost model, the front, and a recommendation."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from loadtest.tune.cells import CellSummary, Comparing, find_front, summarise
from loadtest.tune.cost import CostModel, fit_cost
from loadtest.tune.plan import Cell, CellRun, Plan
from loadtest.tune.recommending import QueueNeeds, Recommendation, recommend, settings_of

_SEED = 20_260_102


class Tuning(BaseModel):
    """A sweep's result."""

    cells: list[CellSummary]
    models: list[CostModel]
    """One for each compression whose runs suffice."""
    spans_per_second: float
    peak_spans_per_second: float
    front: list[Recommendation]
    """The settings of the front, the freshest and dearest first."""
    freshness_seconds: float | None
    """What was asked for; None if nothing was."""
    recommendation: Recommendation | None
    """None if no freshness was asked for, no cell is that fresh, or the default was not measured properly."""

    @property
    def why_nothing(self) -> str:
        """Why nothing is recommended; empty if something is."""
        if self.recommendation is not None:
            return ""
        if not self.front:
            return "No cell could be measured properly, so nothing can be said to be better."
        if self.freshness_seconds is None:
            return (
                "No freshness was named, so nothing is recommended: each cell of the front is the cheapest "
                "for its freshness. `make tune FRESHNESS=1s` chooses."
            )
        ages = [self.of(each.cell).freshness_p95_seconds for each in self.front]
        if all(age is None or age.high > self.freshness_seconds for age in ages):
            return (
                f"No cell is surely accepted within {self.freshness_seconds:g} s: the freshest, "
                f"{self.front[0].cell}, takes {ages[0]} s. Try shorter DELAYS."
            )
        return "What is used now could not be measured properly, so nothing can be said to be better."

    def of(self, cell: Cell) -> CellSummary:
        """Returns a cell's summary."""
        return next(each for each in self.cells if each.cell == cell)

    def model(self, compression: str) -> CostModel | None:
        """Returns a compression's model, if there is one."""
        return next((each for each in self.models if each.compression == compression), None)


def analyse(
    plan: Plan,
    runs: Sequence[CellRun],
    *,
    freshness_seconds: float | None,
    detection_seconds: float,
    least_queue: int,
) -> Tuning:
    """Analyses a sweep.

    Args:
        plan: the sweep's plan.
        runs: every cell-run.
        freshness_seconds: within which time the Collector must have 95 % of the spans; None for no such wish.
        detection_seconds: how long a dead Collector goes unnoticed.
        least_queue: the services' current queue size, below which none is recommended.
    """
    random = np.random.default_rng(_SEED)
    valid = [run for run in runs if run.is_valid]
    cells = summarise(plan, runs, random)
    comparing = Comparing.of(plan, valid)
    front = find_front(cells, comparing)
    for each in front:
        each.is_on_front = True
    needs = QueueNeeds(
        peak_spans_per_second=max((run.peak_spans_per_second for run in valid), default=0.0),
        detection_seconds=detection_seconds,
        least_queue=least_queue,
    )
    recommendation = None
    if freshness_seconds is not None:
        recommendation = recommend(
            plan.default, cells, front, comparing, freshness_seconds=freshness_seconds, needs=needs
        )
    compressions = dict.fromkeys(cell.compression for cell in plan.cells)
    models = [fit_cost(valid, compression, random) for compression in compressions]
    return Tuning(
        cells=cells,
        models=[model for model in models if model is not None],
        spans_per_second=float(np.median([run.spans_per_second for run in valid])) if valid else 0.0,
        peak_spans_per_second=needs.peak_spans_per_second,
        front=[settings_of(each, needs) for each in front],
        freshness_seconds=freshness_seconds,
        recommendation=recommendation,
    )
