"""The storefront's client of the inventory."""

import socket

import pytest
from pydantic import SecretStr
from support.free_ports import free_port
from support.service_processes import Shop

from service.settings import DEMO_API_KEY
from service.storefront.inventory_client import InventoryClient, InventoryUnavailableError

KEY = SecretStr(DEMO_API_KEY)


def test_reserves_what_is_there(shop: Shop) -> None:
    """`reserve` returns True when the pieces are reserved."""
    with InventoryClient(str(shop.inventory.base_url), api_key=KEY, timeout_seconds=5) as inventory:
        assert inventory.reserve(1, 1) is True


def test_out_of_stock_is_an_answer(shop: Shop) -> None:
    """`reserve` returns False for a sold-out product instead of raising."""
    with InventoryClient(str(shop.inventory.base_url), api_key=KEY, timeout_seconds=5) as inventory:
        assert inventory.reserve(12, 1) is False


def test_other_answers_mean_unavailable(shop: Shop) -> None:
    """A product that only the storefront knows is the inventory's fault, not the shopper's."""
    with (
        InventoryClient(str(shop.inventory.base_url), api_key=KEY, timeout_seconds=5) as inventory,
        pytest.raises(InventoryUnavailableError, match="answered 404"),
    ):
        inventory.reserve(999, 1)


def test_wrong_key_means_unavailable(shop: Shop) -> None:
    """The storefront's key is not the shopper's to mend."""
    with (
        InventoryClient(
            str(shop.inventory.base_url), api_key=SecretStr("another"), timeout_seconds=5
        ) as inventory,
        pytest.raises(InventoryUnavailableError, match="answered 401"),
    ):
        inventory.reserve(1, 1)


def test_refused_connection_means_unavailable() -> None:
    """Nothing listens on the port."""
    with (
        InventoryClient(f"http://127.0.0.1:{free_port()}", api_key=KEY, timeout_seconds=5) as inventory,
        pytest.raises(InventoryUnavailableError, match="ConnectError"),
    ):
        inventory.reserve(1, 1)


def test_silence_means_unavailable() -> None:
    """The server listens but never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            InventoryClient(address, api_key=KEY, timeout_seconds=0.2) as inventory,
            pytest.raises(InventoryUnavailableError, match="ReadTimeout"),
        ):
            inventory.reserve(1, 1)
