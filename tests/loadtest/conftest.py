"""The shop that the load tests run against."""

from collections.abc import Iterator

import pytest
from support.service_processes import Shop, run_shop


@pytest.fixture(scope="session")
def busy_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of its own, since the services' tests count their orders."""
    with run_shop(tmp_path_factory.mktemp("busy-shop")) as shop:
        yield shop


@pytest.fixture
def broken_shop(busy_shop: Shop) -> Iterator[Shop]:
    """A shop in which every request fails during the test."""
    busy_shop.storefront.put("/faults", json={"error_rate": 1}).raise_for_status()
    yield busy_shop
    busy_shop.storefront.put("/faults", json={}).raise_for_status()
