"""Fixtures of the export engine's tests: Collectors that misbehave."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from export.misbehaving import Collector, GrpcCollector, HttpCollector, Wire, make_certificate

KINDS = {"grpc": GrpcCollector, "http": HttpCollector}


def _running(collector: Collector) -> Iterator[Collector]:
    yield collector
    collector.release.set()
    collector.stop()


@pytest.fixture(params=list(KINDS))
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """A Collector of each protocol, which accepts until it is told otherwise."""
    yield from _running(KINDS[request.param]())


@pytest.fixture
def grpc_collector() -> Iterator[Collector]:
    """One of gRPC."""
    yield from _running(GrpcCollector())


@pytest.fixture
def http_collector() -> Iterator[Collector]:
    """One of HTTP."""
    yield from _running(HttpCollector())


@pytest.fixture
def wire(collector: Collector) -> Iterator[Wire]:
    """A wire to the Collector."""
    made = Wire(collector.port)
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Self-signed certificates of localhost with their keys: a valid one and one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name, days=days) for name, days in (("valid", 2), ("expired", -1))}
