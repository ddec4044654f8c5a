"""The report of a load run, for people and for programs."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from loadtest.load.report import FailedRequest, FailureCount, LoadResult, print_result

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOOD = LoadResult(
    started=NOON,
    ended=NOON + timedelta(seconds=30),
    users=20,
    intended_rate=50,
    achieved_rate=49.6,
    requests=1_488,
    failures=0,
    p50_ms=4,
    p95_ms=11,
    p99_ms=21,
    late_p99_ms=0.4,
    generator_cpu_share=0.12,
    expected_errors={"POST /v1/orders (sold out): 409": 60},
    failures_by_name=[],
    first_failures=[],
    script_errors=[],
)
JAEGER = "http://jaeger.observability.svc.cluster.example:16686"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
BAD = GOOD.model_copy(
    update={
        "failures": 2,
        "failures_by_name": [FailureCount(method="GET", name="/v1/products", error="answered 500", count=2)],
        "first_failures": [
            FailedRequest(
                at=NOON, method="GET", name="/v1/products", error="answered 500", trace_id=TRACE_ID
            ),
            FailedRequest(at=NOON, method="GET", name="/v1/products", error="[ssl] refused", trace_id=None),
        ],
    }
)


def printed(result: LoadResult) -> str:
    """Returns the summary as a terminal of eighty columns shows it."""
    console = Console(file=StringIO(), width=80)
    print_result(result, console, trace_url=f"{JAEGER}/api/v3/traces/{{trace_id}}")
    text = console.file
    assert isinstance(text, StringIO)
    return text.getvalue()


def test_summary_shows_rate_and_times() -> None:
    """The intended rate is shown beside the achieved one."""
    summary = printed(GOOD)

    assert "49.6/s achieved, 50/s intended" in summary
    assert "4 / 11 / 21 ms" in summary


def test_expected_errors_are_listed_apart() -> None:
    """Errors that were provoked on purpose are not failures."""
    assert "expected: POST /v1/orders (sold out): 409" in printed(GOOD)
    assert "Unexpected failures" not in printed(GOOD)


def test_failures_link_to_their_trace() -> None:
    """The address is unbroken on one line, so that it can be clicked."""
    assert f"{JAEGER}/api/v3/traces/{TRACE_ID}\n" in printed(BAD)


def test_dead_workers_are_reported() -> None:
    """Readers of the numbers must know that some are missing."""
    assert "1 of 2 workers died" in printed(GOOD.model_copy(update={"workers": 2, "lost_workers": 1}))
    assert "died" not in printed(GOOD)


def test_failure_without_answer_says_so() -> None:
    """A refused connection has no trace, and its brackets are not taken for markup."""
    assert "[ssl] refused  no trace named" in printed(BAD)


@pytest.mark.parametrize(
    "update",
    [{"failures": 1}, {"requests": 0}, {"script_errors": ["KeyError: 'id'"]}, {"lost_workers": 1}],
    ids=str,
)
def test_only_a_flawless_run_is_good(update: dict[str, object]) -> None:
    """A run with failures, script errors or lost workers, or without requests, is not good."""
    assert GOOD.is_good
    assert not GOOD.model_copy(update=update).is_good


def test_result_survives_its_file() -> None:
    """Programs read exactly the measured result."""
    assert LoadResult.model_validate_json(BAD.model_dump_json()) == BAD
