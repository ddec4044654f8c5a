"""The report of an outage run: a page, a picture, and the figures for programs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from loadtest.load.report import LoadResult
from loadtest.outage.data import OutageRun
from loadtest.outage.judging import closing_seconds, drain_seconds, latency_ratio, opening_seconds
from loadtest.outage.timeline import draw_timeline
from loadtest.page import PageTable, Picture, describe_machine, write_page
from loadtest.pictures import save_png
from loadtest.verdict import Verdict


class OutageResult(BaseModel):
    """`result.json`: the run's figures."""

    fault: str
    runtime: str
    rate: float
    fault_seconds: float
    began: AwareDatetime
    machine: str
    verdicts: list[Verdict]
    phases_seconds: dict[str, float | None]
    """When each phase began, in seconds since the load began."""
    opening_seconds: dict[str, float | None]
    closing_seconds: dict[str, float | None]
    drain_seconds: float
    p99_ratio: dict[str, float] | None
    ledger: dict[str, dict[str, object]]
    """Each service's last reading."""
    traces: dict[str, object]
    load: LoadResult
    configuration: dict[str, str]


def write_report(run: OutageRun, verdicts: Sequence[Verdict], folder: Path) -> Path:
    """Writes `report.html`, `timeline.png` and `result.json`; returns the page."""
    figure = draw_timeline(run)
    save_png(figure, folder / "timeline.png")
    (folder / "result.json").write_text(_result(run, verdicts).model_dump_json(indent=2))
    page = folder / "report.html"
    write_page(
        page,
        title=f"Outage: {run.fault.what}",
        summary=(
            f"{run.seconds:g} s at {run.rate:g} requests a second, {run.runtime} runtime; "
            f"{len(run.requests)} requests, {run.traces.asked} traces."
        ),
        verdicts=verdicts,
        pictures=[
            Picture(
                "Timeline",
                figure,
                "The fault is shaded; at the dotted line the load ends. Latency counts from when it was due.",
            )
        ],
        tables=[_ledgers(run), _configuration(run)],
    )
    return page


def _ledgers(run: OutageRun) -> PageTable:
    fields = ("ended", "adopted", "delivered", "rejected", "in_memory", "spooled")
    rows = []
    for service, readings in run.readings.items():
        last = readings[-1]
        dropped = ", ".join(f"{spans} {reason}" for reason, spans in last.dropped.items() if spans)
        rows.append([service, *(f"{getattr(last, field)}" for field in fields), dropped or "none"])
    return PageTable("Where each span went", ["service", *fields, "dropped"], rows)


def _configuration(run: OutageRun) -> PageTable:
    rows = [[name, value] for name, value in run.configuration.items()]
    return PageTable("Configuration", ["variable", "value"], rows, is_code=True)


def _result(run: OutageRun, verdicts: Sequence[Verdict]) -> OutageResult:
    ratio, phases = latency_ratio(run), run.phases
    moments = {name: getattr(phases, name) for name in ("before", "fault", "mended", "quiet", "drained")}
    return OutageResult(
        fault=run.fault.name,
        runtime=run.runtime,
        rate=run.rate,
        fault_seconds=run.seconds,
        began=datetime.fromtimestamp(phases.load, tz=UTC),
        machine=describe_machine(),
        verdicts=list(verdicts),
        phases_seconds={
            name: None if moment is None else round(moment - phases.load, 3)
            for name, moment in moments.items()
        },
        opening_seconds=opening_seconds(run),
        closing_seconds=closing_seconds(run),
        drain_seconds=drain_seconds(run),
        p99_ratio=None if ratio is None else {"value": ratio.value, "low": ratio.low, "high": ratio.high},
        ledger={
            service: {
                **{
                    field: getattr(readings[-1], field)
                    for field in ("ended", "adopted", "delivered", "rejected", "in_memory", "spooled")
                },
                "dropped": dict(readings[-1].dropped),
            }
            for service, readings in run.readings.items()
        },
        traces={
            "asked": run.traces.asked,
            "missing": list(run.traces.missing),
            "incomplete": dict(run.traces.incomplete),
            "spans": run.traces.spans,
        },
        load=run.load,
        configuration=dict(run.configuration),
    )
