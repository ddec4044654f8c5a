"""The report of a sweep: a page, a picture, and files of settings."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.calibration import read_request_cost
from loadtest.page import PageTable, Picture, describe_machine, write_page
from loadtest.pictures import save_png
from loadtest.statistics import short
from loadtest.tune.analysis import Tuning
from loadtest.tune.cells import CellSummary
from loadtest.tune.cost import WASTE
from loadtest.tune.drawing import draw_tuning
from loadtest.tune.figures import Figure
from loadtest.tune.plan import CellRun, Plan
from loadtest.tune.recommending import Recommendation
from loadtest.verdict import Judgement, Verdict


def verdicts_of(tuning: Tuning) -> list[Verdict]:
    """Returns a verdict for each cell, with the reasons if it is invalid."""
    return [
        Verdict(
            judgement=Judgement.PASS if cell.is_valid else Judgement.INVALID,
            promise=f"{cell.cell}",
            figure=_figures(cell) if cell.is_valid else "; ".join(cell.invalid_because),
        )
        for cell in tuning.cells
    ]


def front_lines(tuning: Tuning) -> list[str]:
    """Returns a line for each cell of the front, the freshest first."""
    return [f"front  {each.cell}: {_figures(tuning.of(each.cell))}" for each in tuning.front]


def write_report(plan: Plan, runs: Sequence[CellRun], tuning: Tuning, folder: Path) -> Path:
    """Writes `report.html`, `tuning.png`, and the settings of the front and of a recommendation.

    Returns:
        The page.
    """
    figure = draw_tuning(plan, runs, tuning)
    save_png(figure, folder / "tuning.png")
    for each in tuning.front:
        (folder / _settings_file(each)).write_text(settings_text(each))
    if tuning.recommendation is not None:
        (folder / "recommended.env").write_text(settings_text(tuning.recommendation))
    page = folder / "report.html"
    write_page(
        page,
        title="Tuning: batch size, delay and compression",
        summary=tuning.recommendation.reason if tuning.recommendation else tuning.why_nothing,
        verdicts=verdicts_of(tuning),
        pictures=[Picture("What telemetry costs, against freshness", figure, explain(plan, tuning))],
        tables=[_front(tuning), _cells(tuning), _settings(tuning), _plan(plan)],
    )
    return page


def settings_text(recommendation: Recommendation) -> str:
    """Returns the settings as the text of a file for `make up TELEMETRY_ENV=…`."""
    reason = recommendation.reason.replace(". ", ".\n# ")
    lines = [f"# {reason}", f"# Measured {describe_machine()}."]
    return (
        "\n".join([*lines, *(f"{name}={value}" for name, value in recommendation.variables.items())]) + "\n"
    )


def explain(plan: Plan, tuning: Tuning) -> str:
    """Returns the text above the picture: what is counted, the model, and where the star is."""
    return " ".join(
        (
            "Counted is the CPU of telemetry's own threads (worker, sending ones, gRPC's), not the shop's.",
            *(_explain_model(model.compression, tuning) for model in tuning.models),
            _explain_star(plan, tuning),
            _explain_requests(),
            _explain_rate(tuning),
        )
    )


def _explain_model(compression: str, tuning: Tuning) -> str:
    model = tuning.model(compression)
    if model is None:
        return ""
    knee = (
        "spans cost nothing measurable, so there is no knee"
        if model.knee_spans is None
        else f"from {model.knee_spans:.0f} spans on the exports are at most {WASTE:.0%} of it"
    )
    return (
        f"With compression {compression} telemetry costs {model}; {knee}. The model leaves "
        f"{model.residual_us:.2f} µs a span (standard deviation over {model.runs} runs, R² "
        f"{model.r_squared:.2f})."
    )


def _explain_star(plan: Plan, tuning: Tuning) -> str:
    if tuning.recommendation is None:
        return tuning.why_nothing
    cell = tuning.of(tuning.recommendation.cell)
    if cell.is_on_front:
        return "The star, what is recommended, lies on the front."
    if cell.cell == plan.default:
        return (
            "The star is not on the front: it is what is used now, and what lies on the front differs from "
            "it by no more than noise."
        )
    raise ValueError(f"{cell.cell} is recommended, and is neither on the front nor the default")


def _explain_rate(tuning: Tuning) -> str:
    return (
        f"Measured were {tuning.spans_per_second:.0f} spans a second, {tuning.peak_spans_per_second:.0f} at "
        "most: a batch fills before its delay is over only if it is smaller than the spans of one delay."
    )


def _explain_requests() -> str:
    return (
        "What requests spend in their own threads is the same in each cell and not in the figures: by "
        f"`make bench-request`, {read_request_cost()}."
    )


def _settings_file(settings: Recommendation) -> str:
    cell = settings.cell
    return f"front-{cell.batch}-{cell.delay_ms:g}ms-{cell.compression}.env"


def _figures(cell: CellSummary) -> str:
    return (
        f"{cell.cpu_us_per_span} µs CPU of telemetry a span, 95 % accepted within "
        f"{cell.freshness_p95_seconds} s, {cell.batch_spans} spans an export"
    )


def _front(tuning: Tuning) -> PageTable:
    rows = []
    for each in tuning.front:
        cell = tuning.of(each.cell)
        figures = (cell.freshness_p95_seconds, cell.cpu_us_per_span, cell.wire_bytes_per_span)
        is_chosen = tuning.recommendation is not None and each.cell == tuning.recommendation.cell
        rows.append(
            [
                f"{each.cell}{' (recommended)' if is_chosen else ''}",
                *map(_shown, figures),
                _settings_file(each),
            ]
        )
    headings = ("cell", "95 % accepted within, s", "CPU a span, µs", "bytes on the wire a span", "settings")
    return PageTable("The front: each is the cheapest for its freshness, beyond noise", headings, rows)


def _cells(tuning: Tuning) -> PageTable:
    headings = (
        *("cell", "valid", "CPU a span, µs", "encode", "send", "gRPC", "model", "of the service, %"),
        *("against now", "freshness p50, s", "p95, s", "export p50, ms", "p99, ms", "spans an export"),
        *("bytes a span", "on the wire", "memory, MiB", "queue at most", "dropped", "front"),
    )
    rows = []
    for each in tuning.cells:
        model = tuning.model(each.cell.compression)
        modelled = f"{short(model.at(each.batch_spans.value))}" if model and each.batch_spans else ""
        cpu = (each.cpu_us_per_span, each.encode_us_per_span, each.send_us_per_span, each.grpc_us_per_span)
        figures = (
            *(each.cpu_against_default, each.freshness_p50_seconds, each.freshness_p95_seconds),
            *(each.export_p50_ms, each.export_p99_ms, each.batch_spans, each.bytes_per_span),
            *(each.wire_bytes_per_span, each.rss_mib),
        )
        share = each.share_of_service
        rows.append(
            [
                *(f"{each.cell}", f"{each.valid_runs} of {each.runs}", *map(_shown, cpu), modelled),
                "" if share is None else short(share.value * 100),
                *map(_shown, figures),
                *(f"{each.queue_high_water}", f"{each.dropped}", "yes" if each.is_on_front else ""),
            ]
        )
    return PageTable("Cells: medians, with 95 % bootstrap intervals; against now, with 90 %", headings, rows)


def _shown(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure}"


def _settings(tuning: Tuning) -> PageTable:
    recommendation = tuning.recommendation
    rows = (
        [] if recommendation is None else [[name, value] for name, value in recommendation.variables.items()]
    )
    if recommendation is not None:
        rows.append(["spans the queue must hold", f"{recommendation.queue_spans}"])
    return PageTable("Recommended", ["variable", "value"], rows, is_code=True)


def _plan(plan: Plan) -> PageTable:
    rows = [
        ["load", f"{plan.rate:g} requests/s by {plan.users} shoppers"],
        ["each run", f"{plan.warm_up_seconds:g} s of warm-up, {plan.measured_seconds:g} s measured"],
        ["repeats", f"{plan.repeats}, each in random order (seed {plan.seed})"],
        ["unrelated processes", f"at most {plan.other_cores:g} cores on average in a run"],
        ["runtime", plan.runtime],
    ]
    return PageTable("How it was measured", ["", ""], rows)
