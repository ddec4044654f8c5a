"""Products and orders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from service import orders
from service.catalogue import GOODS
from service.database import open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """A newly opened storefront database."""
    engine = open_database(
        tmp_path / "storefront.sqlite3", orders.StorefrontTable.metadata, orders.seed_products
    )
    yield engine
    engine.dispose()


def find_product(database: Engine, product_id: int) -> orders.Product:
    """Finds a product that is there."""
    product = orders.find_product(database, product_id)
    assert product is not None
    return product


def test_products_are_the_catalogue(database: Engine) -> None:
    """All goods are on offer, in order."""
    products = orders.list_products(database)

    assert [(product.id, product.name) for product in products] == [(goods.id, goods.name) for goods in GOODS]


def test_unknown_product_is_none(database: Engine) -> None:
    """An id that was never sold finds nothing."""
    assert orders.find_product(database, 999) is None


def test_stored_order_is_found_again(database: Engine) -> None:
    """An order keeps product, quantity and the total of that moment."""
    stored = orders.store_order(database, find_product(database, 6), 3)

    found = orders.find_order(database, stored.id)
    assert found is not None
    assert (found.product_id, found.quantity, found.total_cents) == (6, 3, 3 * 1_450)


def test_old_orders_are_dropped(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest are kept, so that the file is bounded."""
    monkeypatch.setattr(orders, "PRUNE_EVERY", 10)
    mug = find_product(database, 6)

    stored = [orders.store_order(database, mug, 1, keep=5).id for _ in range(30)]

    with Session(database) as session:
        assert session.scalars(select(orders.Order.id)).all() == stored[-5:]


def test_a_pruned_order_gives_its_id_to_none_other(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids go on rising when old orders are gone."""
    monkeypatch.setattr(orders, "PRUNE_EVERY", 1)
    mug = find_product(database, 6)

    stored = [orders.store_order(database, mug, 1, keep=1).id for _ in range(4)]

    assert stored == [1, 2, 3, 4]
    with Session(database) as session:
        assert session.scalar(select(func.count()).select_from(orders.Order)) == 1
