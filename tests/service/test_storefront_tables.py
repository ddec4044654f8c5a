"""Products and orders."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalogue import GOODS
from service.database import open_database
from service.storefront import tables
from service.storefront.tables import Order, Product, Sales, StorefrontTable


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session with a newly opened storefront database, as a request has it."""
    database = open_database(tmp_path / "storefront.sqlite3", StorefrontTable.metadata, tables.seed_products)
    with Session(database, expire_on_commit=False) as session:
        yield session
    database.dispose()


@pytest.fixture
def mug(session: Session) -> Product:
    """A product that is there."""
    product = tables.find_product(session, 6)
    assert product is not None
    return product


def test_products_are_the_catalogue(session: Session) -> None:
    """All goods are on offer, in order."""
    products = tables.list_products(session)

    assert [(product.id, product.name) for product in products] == [(goods.id, goods.name) for goods in GOODS]


def test_unknown_product_is_none(session: Session) -> None:
    """An id that was never sold finds nothing."""
    assert tables.find_product(session, 999) is None


def test_stored_order_is_found_again(session: Session, mug: Product) -> None:
    """An order keeps product, quantity and the total of that moment, for every other session."""
    stored = tables.store_order(session, mug, 3)

    with Session(session.get_bind()) as other:
        found = tables.find_order(other, stored.id)
        assert found is not None
        assert (found.product_id, found.quantity, found.total_cents) == (6, 3, 3 * 1_450)


def test_old_orders_are_dropped(session: Session, mug: Product) -> None:
    """Only the newest are kept, so that the file is bounded."""
    stored = [tables.store_order(session, mug, 1).id for _ in range(30)]

    tables.prune_orders(session, stored[-1], keep=5)

    assert session.scalars(select(Order.id)).all() == stored[-5:]


def test_a_pruned_order_gives_its_id_to_none_other(session: Session, mug: Product) -> None:
    """Ids go on rising when old orders are gone."""
    stored = []
    for _ in range(4):
        stored.append(tables.store_order(session, mug, 1).id)
        tables.prune_orders(session, stored[-1], keep=1)

    assert stored == [1, 2, 3, 4]
    assert session.scalars(select(Order.id)).all() == [4]


def test_export_comes_in_parts_with_the_latest_first(
    session: Session, mug: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are asked for, only some are in memory at a time."""
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 3)
    stored = [tables.store_order(session, mug, 1).id for _ in range(10)]

    session.expunge_all()

    parts, most_loaded = [], 0
    for part in tables.newest_orders(session, 8):
        parts.append([order.id for order in part])
        most_loaded = max(most_loaded, len(session.identity_map))

    assert [len(part) for part in parts] == [3, 3, 2]
    assert [each for part in parts for each in part] == stored[:1:-1]
    assert most_loaded <= 6, "the part in hand and the next"


def test_sales_are_added_up(session: Session, mug: Product) -> None:
    """A shop that has sold nothing adds up to nothing."""
    assert tables.add_up_orders(session) == Sales(0, 0, 0)

    for quantity in (1, 3):
        tables.store_order(session, mug, quantity)

    assert tables.add_up_orders(session) == Sales(orders=2, pieces=4, total_cents=4 * 1_450)
