"""Fixtures of the tests that run with the SDK's spans and with the library's."""

import pytest
from support.span_worlds import PROVIDERS, MakeProvider, World


@pytest.fixture(params=list(PROVIDERS))
def make_provider(request: pytest.FixtureRequest) -> MakeProvider:
    """Builds the SDK's provider, then the library's."""
    return PROVIDERS[request.param]


@pytest.fixture
def world(make_provider: MakeProvider) -> World:
    """A provider that samples everything, with its tracer and recorder."""
    return World(make_provider)
