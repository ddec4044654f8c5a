"""The shop that the load tests shop in."""

from collections.abc import Iterator

import pytest
from support.service_processes import Shop, run_shop


@pytest.fixture(scope="session")
def busy_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop apart from that of the services' own tests, which count what they order."""
    with run_shop(tmp_path_factory.mktemp("busy-shop")) as shop:
        yield shop


@pytest.fixture
def broken_shop(busy_shop: Shop) -> Iterator[Shop]:
    """A shop where every request fails, until afterwards."""
    busy_shop.storefront.put("/faults", json={"error_rate": 1}).raise_for_status()
    yield busy_shop
    busy_shop.storefront.put("/faults", json={}).raise_for_status()
