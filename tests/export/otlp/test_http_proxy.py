"""Exports through a forward proxy, which is the only one to know the Collector's name."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.forward_proxy import ForwardProxy
from support.http_transport import PAYLOAD, close, send, server_context
from support.raw_http_server import RawHttpServer, answer, drip

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.proxy import Proxy, basic
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.export.otlp.tls import TlsFiles

CREDENTIALS = basic("user", "s3cret")
Open = Callable[..., HttpTransport]


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    """A proxy that asks for nothing."""
    running = ForwardProxy()
    yield running
    running.close()


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    """How the Collector is spoken to."""
    return str(request.param)


@pytest.fixture
def target(scheme: str, certificate: tuple[Path, Path]) -> Iterator[RawHttpServer]:
    """The Collector behind the proxy."""
    running = RawHttpServer(server_context(certificate) if scheme == "https" else None)
    yield running
    running.close()


@pytest.fixture
def open_through(
    scheme: str, target: RawHttpServer, proxy: ForwardProxy, certificate: tuple[Path, Path]
) -> Iterator[Open]:
    """Makes transports through the proxy."""
    made: list[HttpTransport] = []

    def make(
        host: str = "localhost",
        *,
        to: Proxy | None = None,
        trusted: bool = True,
        authorization: str | None = None,
    ) -> HttpTransport:
        authority = str(certificate[0]) if trusted else None
        made.append(
            HttpTransport(
                f"{scheme}://{host}:{target.port}/v1/traces",
                tls=TlsFiles(authority=authority) if scheme == "https" else None,
                proxy=to or Proxy("127.0.0.1", proxy.port, authorization),
                headers={"x-tenant": "shop"},
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_requests_go_through_the_proxy_over_one_connection(
    scheme: str, target: RawHttpServer, proxy: ForwardProxy, open_through: Open
) -> None:
    """Plain requests name their whole target; TLS goes through a tunnel, asked for once."""
    made = open_through()
    for _ in range(3):
        assert send(made) == ExportResult(Disposition.DELIVERED)
    assert [body for _, body in target.requests] == [PAYLOAD] * 3
    headers, _ = target.requests[0]
    assert (headers[":line"], headers["x-tenant"]) == ("POST /v1/traces HTTP/1.1", "shop")
    assert headers["host"] == f"localhost:{target.port}"
    assert proxy.connections == 1
    first = proxy.heads[0]
    if scheme == "http":
        assert [head[0] for head in proxy.heads] == [
            f"POST http://localhost:{target.port}/v1/traces HTTP/1.1"
        ] * 3
    else:
        assert len(proxy.heads) == 1
        assert first[:2] == [f"CONNECT localhost:{target.port} HTTP/1.1", f"Host: localhost:{target.port}"]
        assert "shop" not in str(first)


def test_name_that_only_the_proxy_knows_is_not_resolved_here(
    scheme: str, target: RawHttpServer, open_through: Open
) -> None:
    """Inside a company, names of the outside often cannot be."""
    outcome = send(open_through("collector.invalid"))
    if scheme == "http":
        assert outcome.disposition is Disposition.DELIVERED
    else:
        assert outcome.kind == "tls"
        assert "certificate is not valid for 'collector.invalid'" in outcome.detail


def test_credentials_reach_the_proxy_alone(
    scheme: str, target: RawHttpServer, proxy: ForwardProxy, open_through: Open
) -> None:
    """A tunnel's end must not see what its proxy was told."""
    proxy.credentials = CREDENTIALS
    made = open_through(authorization=CREDENTIALS)
    for _ in range(2):
        assert send(made).disposition is Disposition.DELIVERED
    if scheme == "https":
        assert "proxy-authorization" not in target.requests[0][0]


def test_wrong_credentials_are_the_proxys_refusal(
    target: RawHttpServer, proxy: ForwardProxy, open_through: Open
) -> None:
    """The result names the proxy and what it asks for, without what it was told; it may be set right."""
    proxy.credentials = CREDENTIALS
    for authorization in (None, basic("user", "wr0ng")):
        outcome = send(open_through(authorization=authorization))
        assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "proxy")
        assert f"the proxy 127.0.0.1:{proxy.port} refuses: HTTP 407" in outcome.detail
        assert 'Basic realm="company"' in outcome.detail
        assert "wr0ng" not in outcome.detail
        assert basic("user", "wr0ng") not in outcome.detail
    assert target.requests == []


def test_certificate_is_verified_through_the_proxy(
    scheme: str, target: RawHttpServer, open_through: Open
) -> None:
    """It is the Collector's, and the proxy is named as what may have put another in its place."""
    outcome = send(open_through(trusted=False))
    if scheme == "http":
        assert outcome.disposition is Disposition.DELIVERED
        return
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "tls")
    assert f"TLS with localhost:{target.port} failed" in outcome.detail
    assert "(through the proxy 127.0.0.1:" in outcome.detail
    assert target.requests == []


@pytest.mark.parametrize("name", ["127.0.0.1", "no-such-proxy.invalid"])
def test_proxy_that_is_not_there_is_named(name: str, free_port: int, open_through: Open) -> None:
    """It is retried as any failure to connect, and the way around the proxy is told."""
    outcome = send(open_through(to=Proxy(name, free_port)))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "proxy")
    assert f"the proxy {name}:{free_port} cannot be reached: " in outcome.detail
    assert "name it in NO_PROXY" in outcome.detail


@pytest.mark.parametrize(
    "status", ["403 Forbidden", "502 Bad Gateway", "503 Busy", "504 Gateway Timeout", "302 To"]
)
def test_tunnel_that_is_refused_is_the_proxys_refusal(
    status: str, scheme: str, proxy: ForwardProxy, open_through: Open
) -> None:
    """The status of a tunnel is the proxy's own; that of a plain request may be the Collector's."""
    proxy.refusal = answer(status, b"no\x1b[31m")
    outcome = send(open_through())
    if scheme == "https":
        assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "proxy")
        assert f"the proxy 127.0.0.1:{proxy.port} refuses: HTTP {status}" in outcome.detail
    else:
        assert outcome.kind == f"http_{status[:3]}"
        assert f"(through the proxy 127.0.0.1:{proxy.port})" in outcome.detail
    assert "\x1b" not in outcome.detail


def test_interim_answer_opens_no_tunnel(scheme: str, proxy: ForwardProxy, open_through: Open) -> None:
    """Only 2xx does."""
    proxy.refusal = b"HTTP/1.1 103 Wait\r\n\r\n" + answer("502 Bad Gateway")
    assert send(open_through()).kind == ("proxy" if scheme == "https" else "http_502")


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH\r\n", b"\x00" * 100 + b"\n"])
def test_proxy_that_is_none_is_retried(data: bytes, proxy: ForwardProxy, open_through: Open) -> None:
    """Something else listens on that port."""

    def script(peer: object) -> None:
        peer.sendall(data)  # type: ignore[attr-defined]
        close(peer)  # type: ignore[arg-type]

    proxy.script = script
    outcome = send(open_through())
    assert outcome.disposition is Disposition.RETRYABLE
    assert f"the proxy 127.0.0.1:{proxy.port}" in outcome.detail


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5_000], ids=["silence", "drip"])
def test_deadline_includes_the_proxy(data: bytes, proxy: ForwardProxy, open_through: Open) -> None:
    """Neither a silent proxy nor one that drips makes an export longer."""
    proxy.script = drip(data) if data else lambda _: time.sleep(20)
    started = time.monotonic()
    outcome = send(open_through(), 0.3)
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "timeout")
    assert f"(through the proxy 127.0.0.1:{proxy.port})" in outcome.detail
    # Either would take more than ten times the deadline.
    assert time.monotonic() - started < 3


def test_tunnel_that_ended_while_idle_is_made_anew(
    target: RawHttpServer, proxy: ForwardProxy, open_through: Open
) -> None:
    """Proxies end idle tunnels sooner than servers do."""
    target.script = lambda peer: (peer.sendall(answer()), close(peer))[1]
    made = open_through()
    for _ in range(3):
        assert send(made).disposition is Disposition.DELIVERED


def test_proxy_that_is_spoken_to_over_tls(
    scheme: str,
    target: RawHttpServer,
    certificate: tuple[Path, Path],
    open_through: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TLS to the Collector goes through TLS to the proxy, whose authority is one of the system's."""
    proxy = ForwardProxy(server_context(certificate))
    proxy.credentials = CREDENTIALS
    to = Proxy("localhost", proxy.port, CREDENTIALS, is_tls=True)
    outcome = send(open_through(to=to))
    assert (outcome.disposition, outcome.kind) == (Disposition.RETRYABLE, "proxy")
    assert "certificate verify failed" in outcome.detail
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    made = open_through(to=to)
    large = PAYLOAD * 5_000
    for payload in (PAYLOAD, large, PAYLOAD):
        assert made.send(payload, 10) == ExportResult(Disposition.DELIVERED)
    assert [body for _, body in target.requests] == [PAYLOAD, large, PAYLOAD]
    assert len(proxy.heads) == (1 if scheme == "https" else 3)
    assert made.connect_only(5) is None
    assert send(open_through("wrong.invalid", to=to)).kind == ("tls" if scheme == "https" else "")
    proxy.close()
