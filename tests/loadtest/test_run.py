"""The real Locust against the real shop."""

import signal
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.free_ports import free_port
from support.load_runs import load, run_load
from support.service_processes import Shop, run_process, wait_for

from loadtest.load.report import LoadResult


@pytest.fixture(scope="module")
def calm_run(busy_shop: Shop) -> tuple[int, LoadResult]:
    """Exit status and result of four seconds of load on a working shop."""
    file = busy_shop.folder / "calm.json"
    calm = run_load(busy_shop, file, "--users", "10", "--rate", "40", "--seconds", "4")
    return calm.exit_status, calm.result


def test_calm_run_is_good(calm_run: tuple[int, LoadResult]) -> None:
    """No request got an unexpected response."""
    exit_status, result = calm_run

    assert result.failures_by_name == []
    assert result.is_good
    assert exit_status == 0


def test_rate_is_honoured(calm_run: tuple[int, LoadResult]) -> None:
    """The rate is a limit over all shoppers together; a busy machine may reach less."""
    _, result = calm_run

    assert 0.4 * result.intended_rate < result.achieved_rate < 1.1 * result.intended_rate


def test_shoppers_get_things_wrong_on_purpose(calm_run: tuple[int, LoadResult]) -> None:
    """Provoked errors are counted as expected, not as failures."""
    _, result = calm_run

    assert set(result.expected_errors) <= {
        "GET /v1/products/{product_id} (unknown): 404",
        "POST /v1/orders (sold out): 409",
        "POST /v1/orders (malformed): 422",
        "POST /v1/orders (no key): 401",
    }
    assert sum(result.expected_errors.values()) > 0


def test_load_begins_no_trace_itself(busy_shop: Shop, calm_run: tuple[int, LoadResult]) -> None:
    """The storefront's server spans are roots, and only the shop sends spans."""
    _, result = calm_run

    def server_spans() -> list[Span]:
        return [
            it.span
            for it in list(busy_shop.receiver.spans)
            if it.service == "storefront" and it.span.kind == Span.SPAN_KIND_SERVER
        ]

    wait_for("a server span for each request", lambda: len(server_spans()) >= result.requests)
    assert not any(span.parent_span_id for span in server_spans())
    assert {it.service for it in list(busy_shop.receiver.spans)} == {"storefront", "inventory"}


def test_interrupted_run_sums_up_what_it_did(busy_shop: Shop, tmp_path: Path) -> None:
    """Ctrl-C ends Locust too, and the numbers so far are reported."""
    file = tmp_path / "interrupted.json"
    arguments = ("--users", "2", "--rate", "20", "--seconds", "300", "--json", str(file))
    with load(*arguments, port=busy_shop.storefront_port) as process:
        (locust,) = wait_for("Locust", psutil.Process(process.pid).children)
        sent = len(busy_shop.receiver.spans)
        # More than can still be on their way from earlier tests.
        wait_for("shopping", lambda: len(busy_shop.receiver.spans) > sent + 100)

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 130, output
    assert "unexpected failures" in output
    assert LoadResult.model_validate_json(file.read_text()).requests > 0
    assert not locust.is_running()


def test_missing_storefront_is_reported_at_once() -> None:
    """The reason and the remedy are printed instead of a thousand refused connections."""
    with load("--seconds", "1", port=free_port()) as process:
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 2
    assert "make up" in output


def test_page_is_for_this_machine_only(tmp_path: Path) -> None:
    """Locust's web page listens on loopback only."""
    port = free_port()
    with run_process(
        ["-m", "loadtest", "ui", "--locust-port", str(port)], tmp_path / "ui.log", PYTHONUNBUFFERED="1"
    ) as process:

        def is_up() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_for("Locust's page", is_up)
        listening = {
            connection.laddr.ip
            for connection in psutil.Process(process.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening == {"127.0.0.1"}


def test_gevent_stays_out_of_this_process() -> None:
    """Its patching would change sockets and threads for every other test."""
    assert "gevent" not in sys.modules
