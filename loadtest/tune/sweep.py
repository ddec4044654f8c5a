"""`make tune`: measures each cell repeatedly under the same load, and saves each measurement."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loadtest.activity import Activity
from loadtest.lab import Lab
from loadtest.load.generator import Generator, Load, prometheus_at
from loadtest.load.report import LoadResult
from loadtest.load.requests_file import RequestsFollower, read_requests
from loadtest.tune.gates import reasons_against
from loadtest.tune.measuring import CpuMeter, freshness_seconds, peak_per_second, read_exports
from loadtest.tune.plan import Cell, CellRun, Journal
from loadtest.tune.relay import Relay
from loadtest.watch import Reading, Watcher, memory_bytes
from stack.errors import StackError
from stack.services import STOREFRONT
from telemetry.export.cpu import Stage

_WATCH_SECONDS = 0.1
"""Close enough to know freshness to a tenth of a second."""
_SEND_SECONDS = 15.0
"""How long a service may take to send everything after the load."""
_START_SECONDS = 30.0
_MEASURED = STOREFRONT.name
_HOST = "127.0.0.1"
_STAGES = (Stage.ENCODE, Stage.SEND, Stage.GRPC)
"""What a span costs; pushed metrics are not its."""


class Sweep:
    """The measurements that a journal's plan still lacks.

    Args:
        lab: the stack, which its owner puts back.
        journal: the plan, and where runs are saved.
        console: where progress is reported.
    """

    def __init__(self, lab: Lab, journal: Journal, console: Console) -> None:
        self._lab = lab
        self._journal = journal
        self._console = console

    def run(self) -> list[CellRun]:
        """Measures the remaining cell-runs; returns all of them, including earlier ones."""
        left = self._journal.left()
        total = len(self._journal.plan.order)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with (
            Progress(*columns, console=self._console) as progress,
            closing(Activity(prometheus_at(self._lab.settings.prometheus_port))) as activity,
            self._relay() as relay,
        ):
            task = progress.add_task("", total=total, completed=total - len(left))
            for cell, repeat in left:
                progress.update(task, description=f"{cell}")
                with activity.during("cell", str(cell)):
                    run = self._measure(cell, repeat, relay)
                self._journal.add(run)
                progress.advance(task)
                progress.print(_in_a_line(run))
        return self._journal.runs()

    @contextmanager
    def _relay(self) -> Iterator[Relay | None]:
        """Stands between storefront and Collector in all cells; containers do not reach this process."""
        settings = self._lab.settings
        if self._lab.runtime.kind != "native":
            yield None
            return
        is_grpc = self._lab.config_of_services({}).protocol == "grpc"
        collector = settings.otlp_grpc_port if is_grpc else settings.otlp_http_port
        try:
            relay = Relay((_HOST, settings.otlp_proxy_port), (_HOST, collector))
        except OSError as error:
            raise StackError(
                f"OTLP_PROXY_PORT={settings.otlp_proxy_port} cannot be used ({error}): "
                "set it to a free port, or end what listens there"
            ) from error
        with relay:
            yield relay

    def _measure(self, cell: Cell, repeat: int, relay: Relay | None) -> CellRun:
        plan = self._journal.plan
        way = {} if relay is None else {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{_HOST}:{relay.port}"}
        self._lab.restart(_MEASURED, {"TELEMETRY_TRACE_RESPONSE": "true", **way, **cell.variables})
        folder = self._journal.folder
        requests_file, result_file = folder / "requests.csv", folder / "load.json"
        requests_file.unlink(missing_ok=True)
        load = Load(users=plan.users, rate=plan.rate, storefront_port=self._lab.settings.storefront_port)
        generator = Generator(
            load,
            # It is stopped at the end of the measurement.
            seconds=plan.warm_up_seconds + plan.measured_seconds + _START_SECONDS,
            result_file=result_file,
            requests_file=requests_file,
            log=folder / "locust.log",
        )
        address = STOREFRONT.url(self._lab.settings)
        try:
            _wait_for_requests(requests_file, generator)
            time.sleep(plan.warm_up_seconds)
            with (
                httpx.Client(base_url=address, trust_env=False) as client,
                Watcher({_MEASURED: address}, _WATCH_SECONDS) as watcher,
            ):
                pids = self._pids()
                before, sent_before = read_exports(client), relay.sent_bytes if relay else 0
                meter = CpuMeter(pids[_MEASURED], [os.getpid(), generator.process.pid, *pids.values()])
                first, started = self._reading(watcher, after=time.time()), time.time()
                time.sleep(plan.measured_seconds)
                ended = time.time()
                last = self._reading(watcher, after=ended)
                cpu_seconds, other_cores = meter.measured_seconds(), meter.other_cores()
                exports = read_exports(client).since(before)
                sent_bytes = relay.sent_bytes - sent_before if relay else float("nan")
                if generator.stop() != 0:
                    raise StackError(f"Locust failed; see its output in {folder / 'locust.log'}")
                self._wait_until_sent(watcher)
            readings = watcher.readings[_MEASURED]
        finally:
            generator.stop()
        everything = read_requests([requests_file])
        requests = [it for it in everything if started <= it.due < ended]
        made = sum(started <= it.started < ended for it in everything)
        latencies = sorted(it.latency_seconds for it in requests)
        achieved = made / (plan.rate * (ended - started))
        measured = [reading for reading in readings if first.at <= reading.at <= last.at]
        spans = last.ended - first.ended
        result = LoadResult.model_validate_json(result_file.read_text())
        p50, p95 = freshness_seconds(measured, (50, 95))
        return CellRun(
            cell=cell,
            repeat=repeat,
            invalid_because=reasons_against(
                load=result,
                achieved_share=achieved,
                readings=[reading for reading in readings if reading.at >= first.at],
                exports=exports,
                other_cpu_cores=other_cores,
                most_other_cores=plan.other_cores,
            ),
            spans=spans,
            spans_per_second=spans / (last.at - first.at),
            peak_spans_per_second=peak_per_second(measured),
            cpu_us_per_span=exports.cpu_us_per_span(*_STAGES),
            encode_us_per_span=exports.cpu_us_per_span(Stage.ENCODE),
            send_us_per_span=exports.cpu_us_per_span(Stage.SEND),
            grpc_us_per_span=exports.cpu_us_per_span(Stage.GRPC),
            service_us_per_span=cpu_seconds / max(exports.spans, 1) * 1e6,
            batch_spans=exports.spans / max(exports.exports, 1),
            export_ms=exports.seconds / max(exports.exports, 1) * 1000,
            export_p50_ms=exports.quantile_seconds(0.5) * 1000,
            export_p99_ms=exports.quantile_seconds(0.99) * 1000,
            freshness_p50_seconds=p50,
            freshness_p95_seconds=p95,
            queue_high_water=max(reading.in_memory for reading in readings),
            dropped=sum(last.dropped.values()),
            bytes_per_span=exports.payload_bytes / max(exports.spans, 1),
            wire_bytes_per_span=sent_bytes / max(exports.spans, 1),
            rss_bytes=max(memory_bytes(reading) for reading in readings),
            request_p99_ms=latencies[int(len(latencies) * 0.99)] * 1000 if latencies else float("nan"),
            achieved_share=achieved,
            generator_cpu_share=result.generator_cpu_share,
            other_cpu_cores=other_cores,
        )

    def _pids(self) -> dict[str, int]:
        return {each.part.name: each.pid for each in self._lab.runtime.status() if each.pid is not None}

    def _reading(self, watcher: Watcher, *, after: float) -> Reading:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            latest = watcher.latest.get(_MEASURED)
            if latest is not None and latest.at >= after:
                return latest
            time.sleep(_WATCH_SECONDS / 4)
        raise StackError(f"the {_MEASURED} returns no health report: {watcher.failures[-1:]}")

    def _wait_until_sent(self, watcher: Watcher) -> None:
        """Waits until no spans are pending; any that remain at the deadline make the run invalid."""
        deadline = time.monotonic() + _SEND_SECONDS
        while time.monotonic() < deadline and self._reading(watcher, after=time.time()).pending:
            time.sleep(_WATCH_SECONDS)


def _wait_for_requests(file: Path, generator: Generator) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and generator.process.poll() is None:
        if RequestsFollower(file).read_new():
            return
        time.sleep(0.05)
    raise StackError("Locust sends no requests; see its output in locust.log of the report's folder")


def _in_a_line(run: CellRun) -> str:
    if run.invalid_because:
        return f"[yellow]INVALID[/] {run.cell}: {'; '.join(run.invalid_because)}"
    return (
        f"{run.cell}: {run.cpu_us_per_span:.1f} µs CPU of telemetry a span, p95 "
        f"{run.freshness_p95_seconds:.2f} s to the Collector, {run.batch_spans:.0f} spans an export of "
        f"{run.export_ms:.1f} ms"
    )
