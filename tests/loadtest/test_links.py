"""Which trace a response names, and which trace a failure in Locust's table links to."""

from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.load.links import TraceLinks, plain_error, read_trace

TEMPLATE = "http://jaeger/trace/{trace_id}"
ONE, OTHER = "1" * 32, "2" * 32


def test_first_trace_of_a_kind_is_shown() -> None:
    """Later ones do not lengthen the table; a failure of another request is another kind."""
    links = TraceLinks()

    first = links.described("GET", "/", "answered 500", ONE, template=TEMPLATE)
    assert first == f"answered 500, e.g. http://jaeger/trace/{ONE}"
    assert links.described("GET", "/", "answered 500", OTHER, template=TEMPLATE) == first
    assert OTHER in links.described("POST", "/", "answered 500", OTHER, template=TEMPLATE)


@pytest.mark.parametrize(("trace_id", "template"), [("", TEMPLATE), (ONE, "")])
def test_without_trace_or_template_there_is_no_link(trace_id: str, template: str) -> None:
    """The error stands alone."""
    assert TraceLinks().described("GET", "/", "answered 500", trace_id, template=template) == "answered 500"


def test_new_run_has_links_of_its_own() -> None:
    """The links of the previous run lead to old traces."""
    links = TraceLinks()
    links.described("GET", "/", "answered 500", ONE, template=TEMPLATE)
    links.note_start()

    assert OTHER in links.described("GET", "/", "answered 500", OTHER, template=TEMPLATE)


def report_of_worker(trace_id: str) -> dict[str, Any]:
    """Returns a report in the format of Locust's workers."""
    error = f"CatchResponseError('answered 500, e.g. http://jaeger/trace/{trace_id}')"
    return {
        "errors": {f"hash of {trace_id}": {"method": "GET", "name": "/", "error": error, "occurrences": 3}}
    }


def test_workers_share_a_row() -> None:
    """The same failure in two workers has one link, that of the first report."""
    links, one, other = TraceLinks(), report_of_worker(ONE), report_of_worker(OTHER)
    links.unite(one)
    links.unite(other)

    assert one["errors"] == other["errors"]
    assert ONE in next(iter(other["errors"].values()))["error"]


@pytest.mark.parametrize(
    "error",
    [
        "answered 500",
        f"answered 500, e.g. http://jaeger/trace/{ONE}",
        f"CatchResponseError('answered 500, e.g. http://jaeger/trace/{ONE}')",
    ],
)
def test_plain_error_is_the_same_everywhere(error: str) -> None:
    """It is so with and without a link, in this process and from a worker."""
    assert plain_error(error) == "answered 500"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{ONE}-{'3' * 16}-01", (ONE, True)),
        (f"00-{ONE}-{'3' * 16}-00", (ONE, False)),
        (f"00-{ONE}-{'3' * 16}-xx", (ONE, False)),
        ("nonsense", ("", False)),
    ],
)
def test_answer_names_its_trace(header: str, expected: tuple[str, bool]) -> None:
    """The header also says whether the trace was sampled."""
    assert read_trace(SimpleNamespace(headers={"traceresponse": header})) == expected


def test_no_answer_names_no_trace() -> None:
    """A refused connection has no headers at all."""
    assert read_trace(SimpleNamespace(headers=None)) == ("", False)
