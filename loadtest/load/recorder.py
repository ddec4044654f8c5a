"""Records what Locust's own statistics lack: exact latencies, provoked errors, and a line per request."""

import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.load.last_reports import LastReports
from loadtest.load.links import plain_error, read_trace
from loadtest.load.report import FailedRequest, FailureCount, LoadResult, utc_from_timestamp
from loadtest.load.requests_file import RequestRecord, RequestsFile, path_of_worker
from loadtest.load.tally import Tally

_FLUSH_SECONDS = 0.5
_IN_A_REPORT = "loadtest"


class Recorder:
    """A recorder of finished requests, which runs in Locust's single thread."""

    def __init__(self, last_reports: LastReports) -> None:
        # Times are measured on the monotonic clock and reported as wall-clock times.
        self._epoch = time.time() - time.monotonic()
        self._last_reports = last_reports
        self._file: RequestsFile | None = None
        self._tally = Tally()

    def note_start(self, **_: Any) -> None:
        """Resets the counts: on Locust's page one test may follow another."""
        self._tally = Tally()

    def open_file(self, environment: Environment, **_: Any) -> None:
        """Opens the requests file, if one was requested; each worker has its own."""
        options, runner = environment.parsed_options, environment.runner
        if not options or not options.requests_file or isinstance(runner, MasterRunner):
            return
        path = Path(options.requests_file)
        if isinstance(runner, WorkerRunner):
            path = path_of_worker(path, runner.worker_index + 1)
        self._file = RequestsFile(path)
        gevent.spawn(self._flush_now_and_then)

    def report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """Adds the counts since the last report to a worker's report."""
        data[_IN_A_REPORT] = self._tally.take()

    def note_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """Adds up the counts in a worker's report."""
        self._tally.add(client_id, data[_IN_A_REPORT])

    def note_request(
        self,
        *,
        request_type: str,
        name: str,
        response: Any,
        exception: BaseException | None,
        context: dict[str, Any],
        response_time: float,
        **_: Any,
    ) -> None:
        """Records one finished request."""
        due, started = context["due"], context["started"]
        ended = self._epoch + due + response_time / 1000
        self._tally.note_times(latency_seconds=response_time / 1000, delay_seconds=started - due, ended=ended)
        trace_id, is_sampled = read_trace(response)
        error = "" if exception is None else plain_error(exception)
        if error:
            failure = FailedRequest(
                at=utc_from_timestamp(ended),
                method=request_type,
                name=name,
                error=error,
                trace_id=trace_id or None,
            )
            self._tally.note_failure(failure)
        elif (expect := context["expect"]) >= HTTPStatus.BAD_REQUEST:
            self._tally.expected_errors[f"{request_type} {name}: {expect.value}"] += 1
        if self._file is not None:
            self._file.add(
                RequestRecord(
                    due=self._epoch + due,
                    started=self._epoch + started,
                    ended=ended,
                    method=request_type,
                    name=name,
                    status=getattr(response, "status_code", 0) or 0,
                    error=error,
                    trace_id=trace_id,
                    is_sampled=is_sampled,
                )
            )

    def write_result(self, environment: Environment, **_: Any) -> None:
        """Writes the result file, if one was requested, and the last lines of the requests file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        options, runner = environment.parsed_options, environment.runner
        if not options or not options.result_file or runner is None or isinstance(runner, WorkerRunner):
            return
        stats, tally = environment.stats, self._tally
        failures: Counter[tuple[str, str, str]] = Counter()
        for error in stats.errors.values():
            failures[error.method, error.name, plain_error(error.error)] += error.occurrences
        result = LoadResult(
            started=utc_from_timestamp(tally.started),
            ended=utc_from_timestamp(tally.ended),
            users=options.num_users,
            intended_rate=options.rate,
            achieved_rate=stats.total.num_requests / max(tally.ended - tally.started, 0.001),
            requests=stats.total.num_requests,
            failures=stats.total.num_failures,
            p50_ms=tally.percentile_ms(50),
            p95_ms=tally.percentile_ms(95),
            p99_ms=tally.percentile_ms(99),
            late_p99_ms=tally.late_ms(99),
            generator_cpu_share=tally.highest_cpu_share,
            expected_errors=tally.expected_errors,
            failures_by_name=[
                FailureCount(method=method, name=name, error=error, count=count)
                for (method, name, error), count in failures.items()
            ],
            first_failures=tally.first_failures,
            script_errors=[str(error["msg"]) for error in runner.exceptions.values()],
            workers=len(self._last_reports.workers),
            lost_workers=len(self._last_reports.lost_workers),
        )
        Path(options.result_file).write_text(result.model_dump_json(indent=2))

    def _flush_now_and_then(self) -> None:
        while self._file is not None:
            self._file.flush()
            gevent.sleep(_FLUSH_SECONDS)
