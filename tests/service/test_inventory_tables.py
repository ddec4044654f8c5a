"""Reserving pieces."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from service.catalogue import PLENTY
from service.database import open_database
from service.inventory.tables import InventoryTable, Reservation, Stock, find_stock, reserve, seed_stock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """A newly opened inventory database."""
    engine = open_database(tmp_path / "inventory.sqlite3", InventoryTable.metadata, seed_stock)
    yield engine
    engine.dispose()


def fill(database: Engine, product_id: int, pieces: int) -> None:
    """Sets what is left of a product."""
    with Session(database) as session, session.begin():
        session.execute(update(Stock).where(Stock.product_id == product_id).values(available=pieces))


def left(database: Engine, product_id: int) -> int:
    """Reads what is left of a product."""
    with Session(database) as session:
        stock = find_stock(session, product_id)
        assert stock is not None
        return stock.available


def take(database: Engine, product_id: int, quantity: int) -> Reservation:
    """Reserves pieces as a request does: in a session of its own."""
    with Session(database) as session:
        return reserve(session, product_id, quantity)


def test_reservation_takes_the_pieces(database: Engine) -> None:
    """What was reserved is gone from the shelf."""
    assert take(database, 1, 3) is Reservation.RESERVED
    assert left(database, 1) == PLENTY - 3


def test_too_few_pieces_are_left_alone(database: Engine) -> None:
    """A reservation is made whole or not at all."""
    fill(database, 1, 2)

    assert take(database, 1, 3) is Reservation.OUT_OF_STOCK
    assert left(database, 1) == 2


def test_one_product_is_always_sold_out(database: Engine) -> None:
    """The catalogue has a product for trying out 409."""
    assert take(database, 12, 1) is Reservation.OUT_OF_STOCK


def test_unknown_product_is_distinct(database: Engine) -> None:
    """Sold out is not the same as never sold."""
    assert take(database, 999, 1) is Reservation.UNKNOWN_PRODUCT
    with Session(database) as session:
        assert find_stock(session, 999) is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.integers(0, 30), quantities=st.lists(st.integers(1, 10), max_size=12))
def test_reserved_and_left_add_up(database: Engine, pieces: int, quantities: list[int]) -> None:
    """No sequence of reservations loses a piece or is refused an available one."""
    fill(database, 1, pieces)
    remaining = pieces
    for quantity in quantities:
        is_reserved = take(database, 1, quantity) is Reservation.RESERVED
        assert is_reserved == (quantity <= remaining)
        remaining -= quantity if is_reserved else 0
        assert left(database, 1) == remaining


def test_many_at_once_never_oversell(database: Engine) -> None:
    """Of eight threads with twenty reservations each, fifty succeed when there are fifty pieces."""
    fill(database, 1, 50)

    def shop(_: int) -> int:
        return sum(take(database, 1, 1) is Reservation.RESERVED for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        reserved = sum(pool.map(shop, range(8)))

    assert (reserved, left(database, 1)) == (50, 0)
