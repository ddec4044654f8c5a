"""The results of a load run, as JSON for programs and as a table for people."""

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtest.load.arguments import TRACE_ID


class FailureCount(BaseModel):
    """The number of failures of one kind of request with one error."""

    method: str
    name: str
    error: str
    count: int


class FailedRequest(BaseModel):
    """One unexpected failure, with the trace that explains it."""

    at: AwareDatetime
    method: str
    name: str
    error: str
    trace_id: str | None
    """32 hexadecimal digits; None if there was no response or it named no trace."""


class LoadResult(BaseModel):
    """The results of a run. Latencies, in milliseconds, count from when a request was due, failed or not."""

    model_config = ConfigDict(frozen=True)

    started: AwareDatetime
    ended: AwareDatetime
    """When the last response arrived."""
    users: int
    intended_rate: float
    """The requested rate, in requests a second over all users."""
    achieved_rate: float
    requests: int
    failures: int
    """Requests that got no response or an unexpected one."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_p99_ms: float
    """How late requests were sent after they were due, because of the generator or the shop."""
    generator_cpu_share: float
    """CPU seconds per second of the busiest generator process; near 1 it measures itself."""
    expected_errors: dict[str, int]
    """Error responses that were provoked on purpose, such as 409 out of stock."""
    failures_by_name: list[FailureCount]
    first_failures: list[FailedRequest]
    script_errors: list[str]
    """Errors of the load script itself; if there are any, the run proves nothing."""
    workers: int = 0
    """Worker processes besides the master; 0 if one process did everything."""
    lost_workers: int = 0
    """Workers that were gone before the end; requests that they had not reported are not counted."""

    @property
    def is_good(self) -> bool:
        """Whether requests were made, all of them are counted, and each got the expected response."""
        is_whole = not self.script_errors and not self.lost_workers
        return is_whole and self.requests > 0 and self.failures == 0


def print_result(result: LoadResult, console: Console, *, trace_url: str) -> None:
    """Prints the final summary; failing traces are shown as addresses, made from a template."""
    seconds = (result.ended - result.started).total_seconds()
    workers = f" on {result.workers} workers" if result.workers else ""
    totals = Table(
        title=f"{result.users} shoppers{workers}, {seconds:.1f} s", show_header=False, title_justify="left"
    )
    totals.add_row("requests", f"{result.requests}")
    totals.add_row("unexpected failures", f"{result.failures}")
    totals.add_row("rate", f"{result.achieved_rate:.1f}/s achieved, {result.intended_rate:g}/s intended")
    totals.add_row("p50 / p95 / p99", f"{result.p50_ms:.3g} / {result.p95_ms:.3g} / {result.p99_ms:.3g} ms")
    totals.add_row(
        "started late, p99", f"{result.late_p99_ms:.3g} ms; generator at {result.generator_cpu_share:.0%} CPU"
    )
    for name, count in sorted(result.expected_errors.items()):
        totals.add_row(f"expected: {escape(name)}", f"{count}")
    console.print(totals)

    if result.failures_by_name:
        failures = Table("request", "error", "count", title="Unexpected failures", title_justify="left")
        for failure in result.failures_by_name:
            failures.add_row(
                f"{failure.method} {escape(failure.name)}", escape(failure.error), f"{failure.count}"
            )
        console.print(failures)
    for failed in result.first_failures:
        where = trace_url.replace(TRACE_ID, failed.trace_id) if failed.trace_id else "no trace named"
        at = failed.at.astimezone(UTC)
        # soft_wrap: an address broken over two lines cannot be clicked.
        console.print(
            f"{at:%H:%M:%S} {failed.method} {escape(failed.name)}: {escape(failed.error)}  {where}",
            soft_wrap=True,
        )
    if result.lost_workers:
        console.print(
            f"[red]{result.lost_workers} of {result.workers} workers died:[/red] "
            "what they did after their last report is not counted."
        )
    for error in result.script_errors:
        console.print(f"[red]error in the load script:[/red] {escape(error)}")


def utc_from_timestamp(seconds: float) -> datetime:
    """Converts seconds since the epoch to a datetime in UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC)
