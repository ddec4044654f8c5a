"""Who the client is, behind a proxy: the server, or a middleware that trusts its proxy, decides."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from support.traced_app import TracedApp, quiet_config
from support.waiting import wait_until
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PROXY = "127.0.0.1"
CLIENT = "203.0.113.7"


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """Serves an application on a socket of its own; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, host=PROXY, port=0, log_level="error", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until("the server to listen", lambda: server.started)
        yield f"http://{PROXY}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def attributes_behind(
    traced: TracedApp, headers: Mapping[str, str] | list[tuple[str, str]], **options: Any
) -> dict[str, Any]:
    """Returns the attributes of a request that came with these headers of a proxy."""
    traced.app.get("/x")(lambda: 1)
    with served(traced.app, **options) as address:
        httpx.get(f"{address}/x", headers=headers)  # type: ignore[arg-type]
    (span,) = traced.server_spans
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": CLIENT},
        {"x-forwarded-for": f"198.51.100.1, {CLIENT}"},
        {"x-forwarded-for": f"{CLIENT}:4711"},
        [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", f"{CLIENT}:4711")],
    ],
)
def test_server_that_trusts_its_proxy_says_who_the_client_is(headers: Any) -> None:
    """Uvicorn's --proxy-headers and --forwarded-allow-ips, around the application; the peer is not known."""
    found = attributes_behind(TracedApp(), headers, proxy_headers=True, forwarded_allow_ips=PROXY)
    assert found["client.address"] == CLIENT
    assert not {"network.peer.address", "network.peer.port"} & found.keys()


@pytest.mark.parametrize(
    "options", [{"proxy_headers": False}, {"proxy_headers": True, "forwarded_allow_ips": "192.0.2.1"}]
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_anybody_may_send_the_headers_of_a_proxy(header: str, options: dict[str, Any]) -> None:
    """Unless it is trusted, the client is the peer."""
    sent = {header: CLIENT if header != "forwarded" else f"for={CLIENT};proto=https"}
    found = attributes_behind(TracedApp(), sent, **options)
    assert (found["client.address"], found["network.peer.address"]) == (PROXY, PROXY)
    assert found["url.scheme"] == "http"


def test_middleware_within_the_application_may_trust_the_proxy() -> None:
    """The span takes over what it finds; the peer, which was known before, stays."""
    traced = TracedApp(FastAPI(), quiet_config(semconv_opt_in=("http/dup",)))
    traced.app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=PROXY)
    headers = {"x-forwarded-for": f"{CLIENT}:4711", "x-forwarded-proto": "https", "host": "shop.example"}
    found = attributes_behind(traced, headers, proxy_headers=False)
    assert (found["client.address"], found["network.peer.address"]) == (CLIENT, PROXY)
    assert (found["url.scheme"], found["server.port"]) == ("https", 443)
    assert (found["net.peer.ip"], found["http.url"]) == (CLIENT, "https://shop.example/x")


def test_middleware_within_the_application_trusts_nobody_else() -> None:
    """Neither does the span."""
    traced = TracedApp()
    traced.app.add_middleware(ProxyHeadersMiddleware, trusted_hosts="192.0.2.1")
    found = attributes_behind(traced, {"x-forwarded-for": CLIENT}, proxy_headers=False)
    assert (found["client.address"], found["network.peer.address"]) == (PROXY, PROXY)


def test_proxy_changes_only_what_it_tells() -> None:
    """What a hook has hidden stays hidden."""

    def hide(span: Any, _: Any) -> None:
        span.set_attributes({"url.path": "/hidden", "url.query": "hidden"})

    traced = TracedApp(server_request_hook=hide)
    traced.app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=PROXY)
    headers = {"x-forwarded-for": CLIENT, "x-forwarded-proto": "https"}
    found = attributes_behind(traced, headers, proxy_headers=False)
    assert (found["url.path"], found["url.query"]) == ("/hidden", "hidden")
    assert (found["client.address"], found["url.scheme"]) == (CLIENT, "https")


def test_proxy_that_tells_the_scheme_alone_is_noticed() -> None:
    """`X-Forwarded-Proto` without `X-Forwarded-For`."""
    traced = TracedApp()
    traced.app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=PROXY)
    headers = {"x-forwarded-proto": "https", "host": "shop.example"}
    found = attributes_behind(traced, headers, proxy_headers=False)
    assert (found["url.scheme"], found["server.port"], found["client.address"]) == ("https", 443, PROXY)
