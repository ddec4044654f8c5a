"""The canary: an order sent through both services and read back from Jaeger and Prometheus."""

import re
import time
from secrets import token_hex

import httpx

from stack.backends.jaeger import Jaeger
from stack.backends.prometheus import Prometheus
from stack.errors import StackError
from stack.health import NotYetError, wait_for
from stack.service_variables import authorization
from stack.services import SERVICE_NAMES, STOREFRONT
from stack.settings import StackSettings

_SERVICES = frozenset(SERVICE_NAMES)
_SCRAPED = frozenset({*_SERVICES, "collector", "spans", "jaeger"})
_TRACE_RESPONSE = re.compile(r"00-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
_SAMPLED = 0x01
_ORDERS_TRIED = 100
_TRACE_SECONDS = 20.0
_METRICS_SECONDS = 20.0
_COUNTERS = {
    "the storefront's own metrics": (
        'app_request_count_total{job="storefront",method="POST",route="/v1/orders"}'
    ),
    "the Collector's span metrics": (
        'traces_span_metrics_calls_total{service_name="storefront",span_name="POST /v1/orders"}'
    ),
}


def send_canary(settings: StackSettings) -> str:
    """Orders one product, reads its trace and its metrics back, and returns the trace id.

    Raises:
        StackError: some of it did not arrive in time; the message says what.
    """
    jaeger, prometheus = Jaeger(settings.jaeger_port), Prometheus(settings.prometheus_port)
    since = time.time()
    _wait_until_scraped(prometheus, since)
    before = {what: prometheus.total(query, since=since) for what, query in _COUNTERS.items()}
    # With tail sampling, the Collector recognizes the canary by its `tracestate` and keeps it.
    trace_id = order_one(settings, marked=settings.tail_sampling_percentage is not None)

    def find_trace() -> None:
        spans = jaeger.spans(trace_id)
        if not spans.keys() >= _SERVICES:
            lacking = ", ".join(sorted(_SERVICES - spans.keys()))
            raise NotYetError(f"Jaeger has no span of {lacking} in the canary's trace {trace_id}")

    wait_for(find_trace, seconds=_TRACE_SECONDS)
    for what, query in _COUNTERS.items():

        def find_metric(what: str = what, query: str = query) -> None:
            if prometheus.total(query, since=since) <= before[what]:
                raise NotYetError(f"Prometheus does not count the canary in {what}: {query}")

        wait_for(find_metric, seconds=_METRICS_SECONDS)
    return trace_id


def _wait_until_scraped(prometheus: Prometheus, since: float) -> None:
    """Waits until Prometheus has scraped every part at or after `since`."""

    def find_scrapes() -> None:
        fresh = prometheus.query(f"timestamp(up == 1) >= {since:.3f}")
        lacking = _SCRAPED - {series.labels["job"] for series in fresh}
        if lacking:
            raise NotYetError(f"Prometheus does not scrape {', '.join(sorted(lacking))}")

    wait_for(find_scrapes, seconds=_METRICS_SECONDS)


def order_one(settings: StackSettings, *, marked: bool = False) -> str:
    """Places orders until one is sampled, and returns its trace id.

    Args:
        settings: the stack's settings.
        marked: whether to send a trace context that marks the trace as one to keep.

    Raises:
        StackError: the storefront does not accept the order, names no trace, or samples none.
    """
    url = f"{STOREFRONT.url(settings)}/v1/orders"
    context = {"traceparent": f"00-{token_hex(16)}-{token_hex(8)}-01", "tracestate": "stack=canary"}
    headers = authorization(settings) | (context if marked else {})
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
