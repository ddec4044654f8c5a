"""Instrumentations serve every service of a process."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from support.raw_http_server import RawHttpServer
from support.traced_app import TracedApp, quiet_config


@pytest.fixture
def server() -> Iterator[RawHttpServer]:
    """A server that answers 200."""
    running = RawHttpServer()
    yield running
    running.close()


def test_services_of_one_process_do_not_mix(server: RawHttpServer) -> None:
    """An outgoing call is a span of the service whose request makes it."""
    apps = [TracedApp(FastAPI()), TracedApp(FastAPI())]

    async def call() -> int:
        async with httpx.AsyncClient() as http:
            return (await http.post(f"http://127.0.0.1:{server.port}/", content=b"x")).status_code

    for traced in apps:
        traced.app.get("/call")(call)
        with traced.browser() as http:
            assert http.get("/call").json() == 200
    for traced in apps:
        assert traced.names == ["POST", "GET /call"]


def test_call_of_an_excluded_request_is_no_span(server: RawHttpServer) -> None:
    """Health checks that call others are as silent as the request itself."""
    traced = TracedApp(FastAPI(), quiet_config(excluded_urls=("/live",)))

    @traced.app.get("/live")
    def live() -> int:
        return httpx.post(f"http://127.0.0.1:{server.port}/", content=b"x").status_code

    with traced.browser() as http:
        assert http.get("/live").json() == 200
    assert traced.names == []
