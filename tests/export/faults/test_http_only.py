"""HTTP statuses: which are retried and which are permanent; idle connections and proxies that fail."""

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.collector import Collector, Reply
from support.fault_rig import (
    FIRST_BACKOFF_SECONDS,
    MakeRig,
    assert_all_delivered,
    assert_backed_off,
    assert_dropped_and_told_once,
    assert_held,
    assert_ledger,
    failing,
    lines,
)
from support.forward_proxy import ForwardProxy
from support.http_transport import server_context
from support.raw_http_server import RawHttpServer, answer
from support.waiting import Until

from telemetry.export.otlp.proxy import basic


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable_status_is_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """All are retried with the usual waits; all but 429 count against the breaker."""
    http_collector.script = failing(2, Reply(status=status))
    rig = make_rig(http_collector, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert len(http_collector.requests) == 3
    assert_backed_off(rig)
    assert rig.opened == (0 if status == 429 else 1)
    assert_all_delivered(rig, http_collector)


@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded_and_the_batch_held(
    status: int, is_date: bool, make_rig: MakeRig, http_collector: Collector, until: Until
) -> None:
    """Both forms of the header hold all batches, even for longer than an attempt's own deadline."""
    # A date has whole seconds, so this one is one to two seconds away.
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    value = format_datetime(at, usegmt=True) if is_date else "1"
    http_collector.script = failing(1, Reply(status=status, headers={"Retry-After": value}))
    rig = make_rig(http_collector, max_export_batch_size=1, exporter_timeout_seconds=0.9)
    started = time.monotonic()
    remaining = (at - datetime.now(UTC)).total_seconds()
    assert_held(rig, http_collector, until, at_least_seconds=FIRST_BACKOFF_SECONDS if is_date else 1)
    if is_date:
        # Allows a millisecond between the two clocks.
        assert min(request.at for request in http_collector.requests[1:]) > started + remaining - 0.001
    assert rig.opened == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 500, 501])
def test_permanent_status_is_never_retried(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans are dropped and counted, and the body's reason is logged once; a single span cannot be halved."""
    http_collector.script = failing(99, Reply(status=status))
    assert_dropped_and_told_once(
        make_rig(http_collector), http_collector, caplog, said=f"HTTP {status}: Reason on purpose"
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_that_names_where_to(
    status: int, make_rig: MakeRig, http_collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """A redirect is never followed and never counts as success."""
    elsewhere = f"{http_collector.endpoint}/elsewhere"
    http_collector.script = failing(99, Reply(status=status, headers={"Location": elsewhere}))
    assert_dropped_and_told_once(make_rig(http_collector), http_collector, caplog, said=elsewhere)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_server_that_ends_idle_connections_is_healthy(
    is_tls: bool, make_rig: MakeRig, certificates: dict[str, tuple[Path, Path]]
) -> None:
    """None of ten exports fails, whether or not its connection's end has arrived before it."""
    certificate = certificates["valid"]
    server = RawHttpServer(server_context(certificate) if is_tls else None)

    def answer_and_close(peer: socket.socket) -> None:
        peer.sendall(answer())
        socket.socket.shutdown(peer, socket.SHUT_RDWR)

    server.script = answer_and_close
    scheme = "https" if is_tls else "http"
    rig = make_rig(
        f"{scheme}://127.0.0.1:{server.port}",
        "http/protobuf",
        certificate=str(certificate[0]) if is_tls else None,
        breaker_failure_threshold=1,
    )
    for _ in range(10):
        rig.end_spans(1)
        assert rig.pipeline.force_flush(10_000) is True
    assert (len(rig.attempts), rig.failures, rig.opened) == (10, [], 0)
    assert_ledger(rig, delivered=10)
    server.close()


def test_proxy_that_fails_is_retried_and_keeps_its_secrets(
    make_rig: MakeRig,
    http_collector: Collector,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its refusal trips the breaker like a failure to connect; it is logged once, without credentials."""
    proxy = ForwardProxy()
    proxy.credentials = basic("user", "n0t-yet")
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:s3cret@127.0.0.1:{proxy.port}")
    rig = make_rig(http_collector, breaker_failure_threshold=2)
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    assert "(proxy)" in rig.last_error or "proxy 127.0.0.1" in rig.last_error
    assert_ledger(rig, in_memory=5)
    proxy.credentials = basic("user", "s3cret")
    until("everything delivered", lambda: rig.ledger.delivered == 5)
    assert_all_delivered(rig, http_collector)
    (line, *_) = lines(caplog)
    assert f"the proxy 127.0.0.1:{proxy.port} refuses: HTTP 407" in line
    said = f"{caplog.text} {rig.last_error} {rig.attempts}"
    assert "s3cret" not in said
    assert basic("user", "s3cret") not in said
    proxy.close()


def test_proxy_that_cannot_be_used_is_told_once(
    make_rig: MakeRig,
    http_collector: Collector,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The application runs on, its spans are kept, and log and health say which variable is at fault."""
    monkeypatch.setenv("http_proxy", "socks5://user:s3cret@127.0.0.1:1080")
    rig = make_rig("http://collector.example:4318", "http/protobuf")
    rig.end_spans(5)
    until("the breaker to open", lambda: rig.opened)
    (line,) = lines(caplog)
    for said in (line, rig.last_error):
        assert "http_proxy='127.0.0.1:1080'" in said
        assert "socks5:// is not supported" in said
        assert "s3cret" not in said
    assert_ledger(rig, in_memory=5)
