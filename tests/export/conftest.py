"""Fixtures for the export engine's tests: Collectors that misbehave."""

from collections.abc import Iterator

import pytest
from support.collector import Collector
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.wire import Wire

KINDS = {"grpc": GrpcCollector, "http": HttpCollector}


def _running(collector: Collector) -> Iterator[Collector]:
    yield collector
    collector.release.set()
    collector.stop()


@pytest.fixture(params=list(KINDS))
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """A Collector for each protocol, which accepts everything unless a test changes its script."""
    yield from _running(KINDS[request.param]())


@pytest.fixture
def grpc_collector() -> Iterator[Collector]:
    """A gRPC Collector."""
    yield from _running(GrpcCollector())


@pytest.fixture
def http_collector() -> Iterator[Collector]:
    """An HTTP Collector."""
    yield from _running(HttpCollector())


@pytest.fixture
def wire(collector: Collector) -> Iterator[Wire]:
    """A wire in front of the Collector."""
    made = Wire(collector.port)
    yield made
    made.close()
