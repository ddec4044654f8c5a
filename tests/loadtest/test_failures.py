"""Failed requests lead to their traces, in a shop where everything fails."""

import csv
from pathlib import Path

import pytest
from support.load_runs import FinishedLoad, run_load
from support.service_processes import Shop, wait_for

from loadtest.load.requests_file import read_requests, written_paths

SLOW_MS = 1_800
JAEGER = "http://127.0.0.1:26686/trace/"


@pytest.fixture
def broken_run(broken_shop: Shop, tmp_path: Path) -> FinishedLoad:
    """Load by two workers, with answers so slow that Locust alone would not wait for them."""
    slow = {"error_rate": 1, "latency_ms": SLOW_MS}
    broken_shop.storefront.put("/faults", json=slow).raise_for_status()
    arguments = ("--users", "4", "--rate", "40", "--seconds", "4", "--workers", "2")
    template = JAEGER + "{trace_id}"
    return run_load(
        broken_shop,
        tmp_path / "broken.json",
        *arguments,
        "--trace-url",
        template,
        LOCUST_CSV=str(tmp_path / "locust"),
        LOCUST_REQUESTS_FILE=str(tmp_path / "requests.csv"),
    )


def test_failed_requests_lead_to_their_traces(
    broken_shop: Shop, broken_run: FinishedLoad, tmp_path: Path
) -> None:
    """All links in the report and in Locust's table, a row per kind of failure, are of sent traces."""
    result = broken_run.result
    assert (broken_run.exit_status, result.failures) == (1, result.requests)
    assert {failure.error.partition("instead")[0] for failure in result.failures_by_name} == {"answered 500 "}
    trace_ids = [failed.trace_id for failed in result.first_failures]
    assert f"{JAEGER}{trace_ids[0]}\n" in broken_run.output

    with (tmp_path / "locust_failures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({(row["Method"], row["Name"]) for row in rows}) == len(rows) == len(result.failures_by_name)
    assert sum(int(row["Occurrences"]) for row in rows) == result.failures
    # Requests that were under way at the end are counted, too.
    assert len(read_requests(written_paths(tmp_path / "requests.csv"))) == result.requests > 0
    trace_ids += [row["Error"].partition(f", e.g. {JAEGER}")[2].rstrip("')") for row in rows]
    for trace_id in trace_ids:
        assert trace_id
        wait_for(f"trace {trace_id}", lambda trace_id=trace_id: broken_shop.receiver.trace(trace_id))
