"""Writing needs the shop's key, in both services and for everything that they have."""

from collections.abc import Iterator

import httpx
import pytest
from support.service_processes import WITH_KEY, Shop

ORDER = {"product_id": 1, "quantity": 1}


@pytest.fixture
def stranger() -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("storefront", "POST", "/v1/orders"),
        ("storefront", "PUT", "/faults"),
        ("storefront", "PUT", "/tuning"),
        ("storefront", "DELETE", "/admin/sales"),
        ("storefront", "POST", "/no/such/path"),
        ("inventory", "POST", "/v1/reservations"),
        ("inventory", "PUT", "/faults"),
    ],
)
def test_strangers_may_not_write(
    service: str, method: str, path: str, shop: Shop, stranger: httpx.Client
) -> None:
    """Nor can they find out which paths exist."""
    url = f"{getattr(shop, service).base_url}{path}"

    answer = stranger.request(method, url, json=ORDER)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/products",
        "/v1/orders/export",
        "/admin/sales",
        "/healthz",
        "/metrics",
        "/docs",
        "/admin/docs",
        "/faults",
    ],
)
def test_reading_is_open_to_all(path: str, shop: Shop, stranger: httpx.Client) -> None:
    """So are health, metrics and the interactive documentation."""
    assert stranger.get(f"{shop.storefront.base_url}{path}").status_code == 200
    assert stranger.head(f"{shop.storefront.base_url}{path}").status_code in {200, 405}


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer another",
        b"Bearer demo2",
        b"Bearer",
        b"demo",
        b"Basic demo",
        b"Bearer d\xc3\xa9mo",
        b"Bearer \xff",
    ],
)
def test_wrong_key_is_none(authorization: bytes, shop: Shop, stranger: httpx.Client) -> None:
    """Whatever its bytes are."""
    headers = [(b"Authorization", authorization)]
    answer = stranger.post(f"{shop.storefront.base_url}/v1/orders", json=ORDER, headers=headers)
    assert answer.status_code == 401


def test_scheme_is_read_in_any_case(shop: Shop, stranger: httpx.Client) -> None:
    """As RFC 9110 says of it."""
    headers = {"authorization": WITH_KEY["Authorization"].replace("Bearer", "bearer")}
    answer = stranger.post(f"{shop.storefront.base_url}/v1/orders", json=ORDER, headers=headers)
    assert answer.status_code == 201


def test_documentation_has_a_lock_on_what_writes(shop: Shop) -> None:
    """On the page `/docs` a newcomer can enter the key."""
    paths = shop.storefront.get("/openapi.json").json()["paths"]
    locked = {
        (method, path)
        for path, of_path in paths.items()
        for method in of_path
        if "security" in of_path[method]
    }
    assert locked == {("post", "/v1/orders"), ("put", "/faults"), ("put", "/tuning")}
