"""The plan of a tuning run, and the journal of its measurements, from which it can be resumed."""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from stack.settings import ROOT
from telemetry.config import TelemetryConfig


class Cell(BaseModel):
    """One configuration of the storefront's exports."""

    model_config = ConfigDict(frozen=True)

    batch: int
    """The most spans in one export."""
    delay_ms: float
    """The longest that a span waits for its batch."""
    compression: str

    @classmethod
    def of(cls, config: TelemetryConfig) -> "Cell":
        """Returns the cell of a configuration."""
        return cls(
            batch=config.max_export_batch_size,
            delay_ms=config.schedule_delay_ms,
            compression=config.compression,
        )

    @property
    def variables(self) -> dict[str, str]:
        """The settings that configure this cell."""
        return {
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": f"{self.batch}",
            "OTEL_BSP_SCHEDULE_DELAY": f"{self.delay_ms:g}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": self.compression,
        }

    def __str__(self) -> str:
        """Returns a short description."""
        return f"{self.batch} spans, {self.delay_ms:g} ms, {self.compression}"


class Plan(BaseModel):
    """The plan of a sweep: each cell is measured `repeats` times, in random order."""

    model_config = ConfigDict(frozen=True)

    cells: tuple[Cell, ...]
    default: Cell
    """The services' current cell; it is one of `cells`, because the others are compared with it."""
    repeats: int
    rate: float
    """Requests a second."""
    users: int
    warm_up_seconds: float
    measured_seconds: float
    other_cores: float
    """How many cores unrelated processes may use on average in a valid run."""
    runtime: str
    configuration: dict[str, str] = {}
    """The services' other settings, by variable."""
    code: str = ""
    """The `code_digest()` of the measured code."""
    seed: int

    @property
    def order(self) -> list[tuple[Cell, int]]:
        """Every cell-run with the number of its repeat; each repeat has all cells, shuffled anew.

        So a slow drift of the machine affects all cells alike, and a cell's repeats can be paired.
        """
        random = np.random.default_rng(self.seed)
        return [
            (self.cells[index], repeat)
            for repeat in range(self.repeats)
            for index in random.permutation(len(self.cells))
        ]


def plan_grid(
    *,
    batches: Sequence[int],
    delays_ms: Sequence[float],
    compressions: Sequence[str],
    default: Cell,
) -> tuple[Cell, ...]:
    """Returns every combination, and the default if it is not among them."""
    cells = [
        Cell(batch=batch, delay_ms=delay_ms, compression=compression)
        for batch, delay_ms, compression in itertools.product(batches, delays_ms, compressions)
    ]
    return tuple(dict.fromkeys([*cells, default]))


class CellRun(BaseModel):
    """One measurement of a cell; figures that are not available are NaN."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    cell: Cell
    repeat: int
    invalid_because: tuple[str, ...]
    """Why the figures are meaningless; empty for a valid run."""
    spans: int
    spans_per_second: float
    peak_spans_per_second: float
    """Over the busiest second."""
    cpu_us_per_span: float
    """The CPU time of telemetry's own threads and of gRPC's, over the spans that they sent."""
    encode_us_per_span: float
    """Its part of the worker; the next two are those of the sending threads and of gRPC's."""
    send_us_per_span: float
    grpc_us_per_span: float
    service_us_per_span: float
    """The storefront's whole CPU time, including its requests."""
    batch_spans: float
    """Spans in an export, on average."""
    export_ms: float
    """An export's duration, on average."""
    export_p50_ms: float
    export_p99_ms: float
    freshness_p50_seconds: float
    """From the end of a span until the Collector has accepted it."""
    freshness_p95_seconds: float
    queue_high_water: int
    dropped: int
    bytes_per_span: float
    """Encoded, before compression."""
    wire_bytes_per_span: float
    """As sent to the Collector: compressed, with all headers. NaN in containers."""
    rss_bytes: float
    """NaN where the system does not report it."""
    request_p99_ms: float
    achieved_share: float
    """Share of the intended rate."""
    generator_cpu_share: float
    other_cpu_cores: float
    """The CPU that unrelated processes used meanwhile."""

    @property
    def share_of_service(self) -> float:
        """The part of the storefront's CPU time that telemetry's own threads used."""
        return self.cpu_us_per_span / self.service_us_per_span

    @property
    def is_valid(self) -> bool:
        """Whether the run passed every gate."""
        return not self.invalid_because


class Journal:
    """A run's folder: its plan, and a line for each finished cell-run."""

    _PLAN, _RUNS, _RESULT = "plan.json", "runs.jsonl", "result.json"

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan

    @classmethod
    def begin(cls, folder: Path, plan: Plan) -> "Journal":
        """Begins a new run in its folder."""
        (folder / cls._PLAN).write_text(plan.model_dump_json(indent=2))
        return cls(folder, plan)

    @classmethod
    def find_unfinished(cls, reports: Path, wanted: Plan) -> "Journal | None":
        """Returns the latest interrupted run of the same plan (except for its order), or None."""
        for file in sorted(reports.glob(f"tune-*/{cls._PLAN}"), reverse=True):
            if (file.parent / cls._RESULT).exists():
                continue
            try:
                found = cls(file.parent, Plan.model_validate_json(file.read_bytes()))
                found.runs()
            except ValueError:
                continue  # damaged, or of another version: not resumed
            if found.plan.model_copy(update={"seed": wanted.seed}) == wanted:
                return found
        return None

    def runs(self) -> list[CellRun]:
        """Returns the finished cell-runs; a line that was cut off when its process died is left out."""
        file = self.folder / self._RUNS
        text = file.read_text() if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        return [CellRun.model_validate_json(line) for line in whole.splitlines()]

    def add(self, run: CellRun) -> None:
        """Saves a cell-run."""
        file = self.folder / self._RUNS
        kept = "".join(f"{done.model_dump_json()}\n" for done in [*self.runs(), run])
        unfinished = file.with_suffix(".new")
        unfinished.write_text(kept)
        unfinished.replace(file)

    def left(self) -> list[tuple[Cell, int]]:
        """Returns the cell-runs still to measure, in the plan's order."""
        done = {(run.cell, run.repeat) for run in self.runs()}
        return [each for each in self.plan.order if each not in done]

    def finish(self, result: BaseModel) -> None:
        """Writes the result, after which the run is not resumed any more."""
        (self.folder / self._RESULT).write_text(result.model_dump_json(indent=2))


def code_digest() -> str:
    """Returns a digest of the code, because runs of different code must not be compared."""
    files = (
        file for folder in ("telemetry", "service", "loadtest") for file in (ROOT / folder).rglob("*.py")
    )
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Grid(BaseModel):
    """The values that are tried by default."""

    model_config = ConfigDict(frozen=True)

    batches: tuple[int, ...]
    delays_ms: tuple[float, ...]
    compressions: tuple[str, ...]

    def delays_within(self, freshness_seconds: float | None) -> tuple[float, ...]:
        """Returns the delays, stretched so that the longest leaves time to send within the freshness."""
        if freshness_seconds is None:
            return self.delays_ms
        longest_ms = freshness_seconds * 1000 * _MOST_OF_FRESHNESS
        return tuple(max(1.0, round(it / max(self.delays_ms) * longest_ms)) for it in self.delays_ms)


_MOST_OF_FRESHNESS = 0.8
"""The share of the time that a span may wait for its batch."""
QUICK_GRID = Grid(batches=(64, 512), delays_ms=(200, 1000), compressions=("none",))
FULL_GRID = Grid(batches=(64, 256, 1024), delays_ms=(100, 400, 1000), compressions=("none", "gzip"))
REPEATS = 3
WARM_UP_SECONDS = 2.0
OTHER_CORES = 0.3


def seconds_for(delays_ms: Sequence[float]) -> float:
    """Returns how long to measure each run, in seconds: several of the longest delays."""
    return max(8.0, 5 * max(delays_ms) / 1000)
