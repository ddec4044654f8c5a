"""Servers for the transports' tests."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.http_transport import server_context
from support.raw_http_server import RawHttpServer

from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.tls import TlsFiles

MakeTransport = Callable[..., HttpTransport]


@pytest.fixture
def server() -> Iterator[RawHttpServer]:
    """A server that answers 200 unless a test changes its script."""
    running = RawHttpServer()
    yield running
    running.close()


@pytest.fixture
def certificate(certificates: dict[str, tuple[Path, Path]]) -> tuple[Path, Path]:
    """A localhost certificate and its key."""
    return certificates["valid"]


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Iterator[RawHttpServer]:
    """The same over TLS."""
    context: ssl.SSLContext = server_context(certificate)
    running = RawHttpServer(context)
    yield running
    running.close()


@pytest.fixture
def make_transport(certificate: tuple[Path, Path]) -> Iterator[MakeTransport]:
    """Makes transports to a server, which trust its certificate if it has one, and closes them."""
    made: list[HttpTransport] = []

    def make(
        to: RawHttpServer, *, host: str = "127.0.0.1", path: str = "/v1/traces", **options: object
    ) -> HttpTransport:
        scheme, tls = (
            ("http", None) if to.context is None else ("https", TlsFiles(authority=str(certificate[0])))
        )
        values = {"headers": {}, "tls": tls, **options}
        made.append(HttpTransport(f"{scheme}://{host}:{to.port}{path}", **values))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()
