"""What a run notes beside Locust's own statistics: exact latencies, provoked errors, a line a request."""

import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from hdrh.histogram import HdrHistogram
from locust.env import Environment

from loadtest.report import FailedRequest, FailureCount, LoadResult, utc_from_timestamp
from loadtest.requests_file import RequestRecord, RequestsFile

NAMED_FAILURES = 10
"""The first failures are told one by one; later ones are counted."""
_FLUSH_SECONDS = 0.5
_MOST_MICROSECONDS = 3_600_000_000


class Recorder:
    """Notes each finished request; all of it in Locust's one thread."""

    def __init__(self) -> None:
        # Times are measured on the monotonic clock, and told as times of day.
        self._epoch = time.time() - time.monotonic()
        self._file: RequestsFile | None = None
        self.note_start()

    def note_start(self, **_: Any) -> None:
        """Begins anew: on Locust's page one test may follow another."""
        self.started = self.ended = time.time()
        self._cpu_started = time.process_time()
        self.expected_errors: Counter[str] = Counter()
        self.first_failures: list[FailedRequest] = []
        self.latencies = _histogram()
        self.delays = _histogram()

    def open_file(self, environment: Environment, **_: Any) -> None:
        """Opens the file for a line a request, if one was asked for."""
        options = environment.parsed_options
        if options and options.requests_file:
            self._file = RequestsFile(Path(options.requests_file))
            gevent.spawn(self._flush_now_and_then)

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
        """Notes one finished request."""
        due, started = context["due"], context["started"]
        self.ended = self._epoch + due + response_time / 1000
        self.latencies.record_value(min(_MOST_MICROSECONDS, int(response_time * 1000)))
        self.delays.record_value(min(_MOST_MICROSECONDS, max(0, int((started - due) * 1e6))))
        trace_id, is_sampled = read_trace(response)
        error = "" if exception is None else str(exception)
        if not error:
            expect: HTTPStatus = context["expect"]
            if expect >= HTTPStatus.BAD_REQUEST:
                self.expected_errors[f"{request_type} {name}: {expect.value}"] += 1
        elif len(self.first_failures) < NAMED_FAILURES:
            self.first_failures.append(
                FailedRequest(
                    at=utc_from_timestamp(self.ended),
                    method=request_type,
                    name=name,
                    error=error,
                    trace_id=trace_id or None,
                )
            )
        if self._file is not None:
            self._file.add(
                RequestRecord(
                    due=self._epoch + due,
                    started=self._epoch + started,
                    ended=self.ended,
                    method=request_type,
                    name=name,
                    status=getattr(response, "status_code", 0) or 0,
                    error=error,
                    trace_id=trace_id,
                    is_sampled=is_sampled,
                )
            )

    def write_result(self, environment: Environment, **_: Any) -> None:
        """Writes the result file, if one was asked for, and the last lines of the other."""
        if self._file is not None:
            self._file.close()
            self._file = None
        options = environment.parsed_options
        if not options or not options.result_file or environment.runner is None:
            return
        stats = environment.stats
        p50, p95, p99 = (self.latencies.get_value_at_percentile(share) / 1000 for share in (50, 95, 99))
        seconds = max(self.ended - self.started, 0.001)
        result = LoadResult(
            started=utc_from_timestamp(self.started),
            ended=utc_from_timestamp(self.ended),
            users=options.num_users,
            intended_rate=options.rate,
            achieved_rate=stats.total.num_requests / seconds,
            requests=stats.total.num_requests,
            failures=stats.total.num_failures,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            late_p99_ms=self.delays.get_value_at_percentile(99) / 1000,
            generator_cpu_share=(time.process_time() - self._cpu_started) / seconds,
            expected_errors=self.expected_errors,
            failures_by_name=[
                FailureCount(
                    method=error.method, name=error.name, error=str(error.error), count=error.occurrences
                )
                for error in stats.errors.values()
            ],
            first_failures=self.first_failures,
            script_errors=[str(error["msg"]) for error in environment.runner.exceptions.values()],
        )
        Path(options.result_file).write_text(result.model_dump_json(indent=2))

    def _flush_now_and_then(self) -> None:
        while self._file is not None:
            self._file.flush()
            gevent.sleep(_FLUSH_SECONDS)


def read_trace(response: Any) -> tuple[str, bool]:
    """The trace of an answer, and whether it was sampled (`traceresponse`, W3C Trace Context Level 2 draft).

    Empty and False when it names none.
    """
    fields = str((getattr(response, "headers", None) or {}).get("traceresponse", "")).split("-")
    if len(fields) != 4 or len(fields[1]) != 32:  # noqa: PLR2004 - the header's format
        return "", False
    try:
        return fields[1], bool(int(fields[3], 16) & 1)
    except ValueError:
        return fields[1], False


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, _MOST_MICROSECONDS, 3)
