"""Real parts restarted with settings of their own, on which the load lab relies."""

from collections.abc import Iterator

import httpx
import pytest
from support.running_stack import Stack

from stack.canary import order_one, send_canary
from stack.health import NotYetError

pytestmark = pytest.mark.timeout(300)
LATENCY_MS = 300


@pytest.fixture(autouse=True)
def everything_is_as_before(stack: Stack) -> Iterator[None]:
    """Restores the parts that a test restarted."""
    yield
    for name in ("collector", "storefront"):
        stack.runtime.restart(name, {})


def test_service_restarts_with_another_batch_size(stack: Stack) -> None:
    """Its health report has the size, and it sends as before."""
    stack.runtime.restart("storefront", {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64"})
    assert stack.health()["batch"]["size"] == 64
    assert stack.wait_for_trace(order_one(stack.settings))


def test_slow_link_delays_what_is_exported(stack: Stack) -> None:
    """With Toxiproxy before the Collector, exports take its latency, and all arrive."""
    link = stack.runtime.slow_link
    stack.runtime.start("toxiproxy")
    try:
        with httpx.Client(base_url=link.api_url, trust_env=False) as api:
            proxy = {"name": "otlp", "listen": link.listen, "upstream": link.upstream}
            api.post("/proxies", json=proxy).raise_for_status()
            toxic = {"type": "latency", "attributes": {"latency": LATENCY_MS}}
            api.post("/proxies/otlp/toxics", json=toxic).raise_for_status()
        stack.runtime.restart("storefront", {"OTEL_EXPORTER_OTLP_ENDPOINT": link.endpoint})
        assert stack.wait_for_trace(order_one(stack.settings))
        # The trace is there before the answer has come back over the slow link.
        stack.wait("an answer", lambda: stack.value_of("telemetry_export_duration_seconds_count"), seconds=10)
        seconds = stack.value_of("telemetry_export_duration_seconds_sum")
        count = stack.value_of("telemetry_export_duration_seconds_count")
        assert seconds / count >= LATENCY_MS / 1000
    finally:
        stack.runtime.kill("toxiproxy")


def test_tail_sampling_keeps_errors_and_drops_the_rest(stack: Stack) -> None:
    """Its file is merged over the Collector's own: at 0 percent, only the failed request's trace stays.

    The canary's trace stays too, so that `make up` works with tail sampling.
    """
    stack.runtime.restart("collector", {"TAIL_SAMPLING_PERCENTAGE": "0"})
    assert send_canary(stack.settings.model_copy(update={"tail_sampling_percentage": 0.0}))
    ordinary = order_one(stack.settings)
    stack.put_faults(error_rate=1)
    try:
        failed = httpx.get(f"{stack.storefront}/v1/products", trust_env=False)
    finally:
        stack.put_faults()
    assert failed.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    trace_id = failed.headers["traceresponse"].split("-")[1]
    stack.wait("the failed order's trace", lambda: stack.jaeger.spans(trace_id), seconds=20)
    # The failed trace was decided later than the ordinary one.
    with pytest.raises(NotYetError, match="404"):
        stack.jaeger.spans(ordinary)
