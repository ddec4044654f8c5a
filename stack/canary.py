"""The canary: an order sent through both services, read back from Jaeger and Prometheus."""

import re
import time
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import httpx

from stack.errors import StackError
from stack.health import NotYetError, get, wait_for
from stack.services import SERVICE_NAMES, STOREFRONT
from stack.settings import StackSettings

_SERVICES = frozenset(SERVICE_NAMES)
_SCRAPED = frozenset({*_SERVICES, "collector", "spans", "jaeger"})
_TRACE_RESPONSE = re.compile(r"00-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
_SAMPLED = 0x01
_ORDERS_TRIED = 100
_TRACE_SECONDS = 20.0
_METRICS_SECONDS = 20.0


class Backends:
    """Jaeger's and Prometheus's query APIs, as the stack uses them."""

    def __init__(self, settings: StackSettings) -> None:
        self._jaeger = f"http://127.0.0.1:{settings.jaeger_port}"
        self._prometheus = f"http://127.0.0.1:{settings.prometheus_port}"

    def trace(self, trace_id: str) -> Mapping[str, list[dict[str, Any]]]:
        """The spans of a trace by service name.

        Raises:
            NotYetError: Jaeger does not know the trace.
        """
        answer = get(f"{self._jaeger}/api/v3/traces/{trace_id}", timeout_seconds=5)
        if answer.headers.get("content-type", "").startswith("text/html"):
            # Jaeger answers a path that it does not know with its page, and 200.
            raise NotYetError(f"{answer.url} is no API of this Jaeger")
        spans: dict[str, list[dict[str, Any]]] = {}
        for resource in answer.json()["result"]["resourceSpans"]:
            names = [
                attribute["value"]["stringValue"]
                for attribute in resource["resource"]["attributes"]
                if attribute["key"] == "service.name"
            ]
            for scope in resource["scopeSpans"]:
                # Jaeger leaves what it was given twice out of one of the two, which may leave nothing.
                spans.setdefault(names[0], []).extend(scope.get("spans", []))
        return spans

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression.

        Raises:
            NotYetError: Prometheus does not answer.
        """
        answer = get(f"{self._prometheus}/api/v1/query", timeout_seconds=5, query=expression)
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def total(self, selector: str, *, since: float = 0.0) -> float:
        """The sum over a selector's series with a sample since then (seconds of the epoch); 0 for none.

        A query also finds the last samples of a process that is gone, for five minutes.
        """
        fresh = self.query(f"{selector} and timestamp({selector}) >= {since:.3f}")
        return sum(float(series["value"][1]) for series in fresh)

    def exemplar_trace_ids(self, expression: str, *, start: float, end: float) -> set[str]:
        """The trace ids of an expression's exemplars between two times, in seconds of the epoch."""
        answer = get(
            f"{self._prometheus}/api/v1/query_exemplars",
            query=expression,
            start=f"{start:.3f}",
            end=f"{end:.3f}",
        )
        return {
            exemplar["labels"]["trace_id"]
            for series in answer.json()["data"]
            for exemplar in series["exemplars"]
            if "trace_id" in exemplar["labels"]
        }


_COUNTERS = {
    "the storefront's own metrics": 'app_request_count_total{job="storefront",method="POST",route="/orders"}',
    "the Collector's span metrics": (
        'traces_span_metrics_calls_total{service_name="storefront",span_name="POST /orders"}'
    ),
}


def send_canary(settings: StackSettings) -> str:
    """Orders one product, reads its trace and its metrics back, and returns the trace's id.

    Raises:
        StackError: something did not come back in time; the message names it.
    """
    backends = Backends(settings)
    since = time.time()
    _wait_until_scraped(backends, since)
    before = {what: backends.total(query, since=since) for what, query in _COUNTERS.items()}
    # Where the Collector keeps a share alone, it knows this one by its `tracestate`.
    trace_id = order_one(settings, marked=settings.tail_sampling_percentage is not None)

    def find_trace() -> None:
        spans = backends.trace(trace_id)
        if not spans.keys() >= _SERVICES:
            lacking = ", ".join(sorted(_SERVICES - spans.keys()))
            raise NotYetError(f"Jaeger has no span of {lacking} in the canary's trace {trace_id}")

    wait_for(find_trace, seconds=_TRACE_SECONDS)
    for what, query in _COUNTERS.items():

        def find_metric(what: str = what, query: str = query) -> None:
            if backends.total(query, since=since) <= before[what]:
                raise NotYetError(f"Prometheus does not count the canary in {what}: {query}")

        wait_for(find_metric, seconds=_METRICS_SECONDS)
    return trace_id


def _wait_until_scraped(backends: Backends, since: float) -> None:
    """Waits until Prometheus has scraped every part since then."""

    def find_scrapes() -> None:
        fresh = backends.query(f"timestamp(up == 1) >= {since:.3f}")
        lacking = _SCRAPED - {series["metric"]["job"] for series in fresh}
        if lacking:
            raise NotYetError(f"Prometheus does not scrape {', '.join(sorted(lacking))}")

    wait_for(find_scrapes, seconds=_METRICS_SECONDS)


def order_one(settings: StackSettings, *, marked: bool = False) -> str:
    """Places orders until one is sampled; returns its trace id.

    Args:
        settings: say where the storefront is.
        marked: whether it comes with a trace context that says that it is to be kept.

    Raises:
        StackError: the storefront refuses the order, or samples none.
    """
    url = f"{STOREFRONT.url(settings)}/orders"
    context = {"traceparent": f"00-{token_hex(16)}-{token_hex(8)}-01", "tracestate": "stack=canary"}
    headers = context if marked else {}
    order = {"product_id": 1, "quantity": 1}
    for _ in range(_ORDERS_TRIED):
        try:
            answer = httpx.post(url, json=order, headers=headers, timeout=10, trust_env=False)
        except httpx.HTTPError as error:
            raise StackError(
                f"the canary's order got no answer from {url} ({type(error).__name__})"
            ) from error
        if answer.status_code != httpx.codes.CREATED:
            raise StackError(f"the canary's order was answered {answer.status_code}: {answer.text[:300]}")
        match = _TRACE_RESPONSE.fullmatch(answer.headers.get("traceresponse", ""))
        if match is None:
            raise StackError("the storefront's answer names no trace; set TELEMETRY_TRACE_RESPONSE=true")
        if int(match["flags"], 16) & _SAMPLED:
            return match["trace_id"]
    raise StackError(
        f"none of {_ORDERS_TRIED} orders was sampled; raise OTEL_TRACES_SAMPLER_ARG for the canary"
    )
