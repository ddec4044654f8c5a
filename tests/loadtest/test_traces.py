"""What the experiments expect of the trace of each request of the scenario."""

from dataclasses import replace

import pytest

from loadtest.load.requests_file import RequestRecord
from loadtest.sampling.experiment import is_struck
from loadtest.sampling.judging import route_of
from loadtest.traces import sampled

PAGE = RequestRecord(
    due=0.0,
    started=0.0,
    ended=0.01,
    method="GET",
    name="/v1/products",
    status=200,
    error="",
    trace_id="0" * 32,
    is_sampled=True,
)
ORDER = replace(PAGE, method="POST", name="/v1/orders", status=201, trace_id="1" * 32)
SOLD_OUT = replace(ORDER, name="/v1/orders (sold out)", status=409, trace_id="2" * 32)
NONSENSE = replace(ORDER, name="/v1/orders (malformed)", status=422, trace_id="3" * 32)
STRANGER = replace(ORDER, name="/v1/orders (no key)", status=401, trace_id="4" * 32)
SALES = replace(PAGE, name="/admin/sales", trace_id="5" * 32)
DROPPED = replace(PAGE, trace_id="6" * 32, is_sampled=False)


def test_traces_must_hold_the_services_that_answered() -> None:
    """An order that reached the inventory needs both services; unsampled requests need no trace."""
    both, one = frozenset({"storefront", "inventory"}), frozenset({"storefront"})
    assert sampled([PAGE, ORDER, SOLD_OUT, NONSENSE, STRANGER, DROPPED]) == {
        PAGE.trace_id: one,
        ORDER.trace_id: both,
        SOLD_OUT.trace_id: both,
        NONSENSE.trace_id: one,
        STRANGER.trace_id: one,
    }


@pytest.mark.parametrize(
    ("request_record", "name"),
    [
        (PAGE, "GET /v1/products"),
        (SOLD_OUT, "POST /v1/orders"),
        (SALES, "GET /admin/sales"),
        # Answered by a middleware, for the route that it was meant for.
        (STRANGER, "POST /v1/orders"),
    ],
)
def test_server_span_is_named_by_method_and_route(request_record: RequestRecord, name: str) -> None:
    """The scenario's remark is no part of it."""
    assert route_of(request_record) == name


def test_faults_strike_what_the_shop_itself_answers() -> None:
    """Not its admin's pages, nor what a middleware answered before."""
    assert [is_struck(it) for it in (PAGE, SOLD_OUT, STRANGER, SALES)] == [True, True, False, False]
