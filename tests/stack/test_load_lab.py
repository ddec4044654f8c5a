"""The load lab on the real programs, in short runs, and planted defects that it must find.

All of it runs natively; in containers one whole outage is enough, since the lab does nothing to a container
but what test_restart.py and test_containers.py do: kill, freeze, start, and restart it with variables.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from support.running_stack import NATIVELY, Stack

from loadtest.lab import Lab
from loadtest.outage import experiment
from loadtest.outage.data import OutageRun
from loadtest.outage.experiment import Outage
from loadtest.outage.faults import FAULTS, Promise
from loadtest.outage.judging import judge_outage
from loadtest.outage.report import write_report
from loadtest.sampling.experiment import SamplingLab
from loadtest.sampling.judging import judge_sampling
from loadtest.tune.plan import Cell, CellRun, Journal, Plan
from loadtest.tune.sweep import Sweep
from loadtest.verdict import Verdict

pytestmark = pytest.mark.timeout(900)

SOON = {"TELEMETRY_BREAKER_OPEN_MAX_SECONDS": "8"}
"""With this, a recovery takes seconds."""
NEVER_OPENS = {
    "TELEMETRY_BREAKER_FAILURE_THRESHOLD": "1000000",
    "TELEMETRY_BREAKER_MINIMUM_CALLS": "1000000",
}
SHORT_SECONDS = 3.0
FORGETS = {"TELEMETRY_SPOOL_MAX_AGE_SECONDS": "2"}


def outage(stack: Stack, folder: Path, fault: str, variables: Mapping[str, str]) -> OutageRun:
    """Runs a short outage at a low rate."""
    lab = Lab(stack.settings, stack.runtime, {**SOON, **variables})
    console = Console(quiet=True)
    return Outage(lab, FAULTS[fault], rate=30, users=15, seconds=8, folder=folder, console=console).run()


def judged(run: OutageRun) -> dict[Promise, Verdict]:
    """Returns each promise's verdict."""
    promises = [promise for promise in Promise if promise in run.fault.promises]
    return dict(zip(promises, judge_outage(run), strict=True))


FAULT_BY_RUNTIME = [
    *(pytest.param("native", fault, marks=pytest.mark.stack) for fault in sorted(FAULTS)),
    pytest.param("compose", "kill", marks=pytest.mark.compose),
]


@pytest.mark.parametrize(("stack", "fault"), FAULT_BY_RUNTIME, indirect=["stack"])
def test_what_is_promised_of_an_outage_is_kept(fault: str, stack: Stack, tmp_path: Path) -> None:
    """Every fault keeps its promises, except for those that a busy machine can spoil.

    Latency is not checked; the ledger must add up, however far apart the readings were.
    """
    run = outage(stack, tmp_path, fault, {})
    verdicts = judged(run)
    latency, ledger = verdicts.pop(Promise.LATENCY), verdicts.pop(Promise.LEDGER)
    assert {it.judgement for it in verdicts.values()} == {"PASS"}, verdicts
    assert ledger.judgement != "FAIL", ledger
    assert run.load.script_errors == []
    assert run.load.requests > 500
    page = write_report(run, [*verdicts.values(), latency, ledger], tmp_path)
    assert page.stat().st_size > 10_000
    assert stack.health()["circuit_breaker"]["opened_total"] == 0, "the services were not put back"


@pytest.fixture
def short_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the load before and after the fault, for tests that do not compare latencies."""
    monkeypatch.setattr(experiment, "SHORTEST_PHASE_SECONDS", SHORT_SECONDS)


@NATIVELY
@pytest.mark.usefixtures("short_phases")
def test_breaker_that_never_opens_is_found(stack: Stack, tmp_path: Path) -> None:
    """The defect is planted by configuration, and its promise is reported as broken."""
    verdicts = judged(outage(stack, tmp_path, "kill", NEVER_OPENS))
    assert verdicts[Promise.OPENED].judgement == "FAIL"
    assert "never" in verdicts[Promise.OPENED].figure
    assert verdicts[Promise.NO_FAILURE].judgement == "PASS"


@NATIVELY
@pytest.mark.usefixtures("short_phases")
def test_spool_that_loses_records_is_found(stack: Stack, tmp_path: Path) -> None:
    """The defect is planted by configuration: records expire after two seconds."""
    run = outage(stack, tmp_path, "kill", FORGETS)
    verdicts = judged(run)
    assert verdicts[Promise.DELIVERED].judgement == "FAIL"
    assert "spool_expired" in verdicts[Promise.DELIVERED].figure
    assert verdicts[Promise.TRACES].judgement == "FAIL"
    assert verdicts[Promise.LEDGER].judgement != "FAIL", "lost, but counted"
    assert run.traces.missing


def sweep(stack: Stack, folder: Path, *cells: Cell, rate: float, users: int) -> list[CellRun]:
    """Runs each cell once, for a few seconds."""
    plan = Plan(
        cells=cells,
        default=cells[0],
        repeats=1,
        rate=rate,
        users=users,
        warm_up_seconds=1,
        measured_seconds=4,
        other_cores=0.3,
        runtime=stack.runtime.kind,
        seed=1,
    )
    lab = Lab(stack.settings, stack.runtime)
    try:
        return Sweep(lab, Journal.begin(folder, plan), Console(quiet=True)).run()
    finally:
        lab.put_back()


@NATIVELY
def test_cells_are_measured(stack: Stack, tmp_path: Path) -> None:
    """A longer delay makes larger batches that arrive later; the ledger adds up in both."""
    quick = Cell(batch=512, delay_ms=100, compression="gzip")
    slow = Cell(batch=512, delay_ms=1500, compression="none")
    runs = {run.cell: run for run in sweep(stack, tmp_path, quick, slow, rate=60, users=20)}
    assert runs[slow].batch_spans > 2 * runs[quick].batch_spans
    assert runs[slow].freshness_p50_seconds > 2 * runs[quick].freshness_p50_seconds
    for run in runs.values():
        assert not any("ledger" in reason or "sent" in reason for reason in run.invalid_because)
        assert run.dropped == 0
        assert run.spans_per_second > 60
        assert 100 < run.bytes_per_span < 1_000
        assert 1 < run.cpu_us_per_span < run.service_us_per_span < 20_000
        assert min(run.encode_us_per_span, run.send_us_per_span, run.grpc_us_per_span) > 0
        assert run.rss_bytes > 2**20
    assert runs[slow].wire_bytes_per_span > 2 * runs[quick].wire_bytes_per_span, "compressed"


@NATIVELY
def test_generator_that_is_too_slow_makes_its_cell_invalid(stack: Stack, tmp_path: Path) -> None:
    """Two shoppers cannot make thousands of requests a second."""
    cell = Cell(batch=512, delay_ms=1000, compression="none")
    (run,) = sweep(stack, tmp_path, cell, rate=5_000, users=2)
    assert not run.is_valid
    assert any("of the intended requests" in reason for reason in run.invalid_because)


@NATIVELY
def test_what_is_promised_of_sampling_is_kept(stack: Stack, tmp_path: Path) -> None:
    """Head, rate-limited and tail sampling are read back from Jaeger and Prometheus."""
    lab = SamplingLab(
        Lab(stack.settings, stack.runtime),
        rate=60,
        users=20,
        seconds=6,
        ratios=(0.1, 1.0),
        folder=tmp_path,
        console=Console(quiet=True),
    )
    verdicts = judge_sampling(lab.run())
    assert {verdict.judgement for verdict in verdicts} == {"PASS"}, verdicts
