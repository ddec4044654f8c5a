"""The inventory's table: how many pieces of each product are left."""

from enum import StrEnum

from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from service.catalogue import GOODS
from telemetry.decorators import measure_performance, trace_function, track_errors


class InventoryTable(DeclarativeBase):
    """Base of the inventory's tables."""


class Stock(InventoryTable):
    """The remaining stock of one product."""

    __tablename__ = "stock"

    product_id: Mapped[int] = mapped_column(primary_key=True)
    available: Mapped[int]


class Reservation(StrEnum):
    """The outcome of a reservation."""

    RESERVED = "reserved"
    OUT_OF_STOCK = "out_of_stock"
    UNKNOWN_PRODUCT = "unknown_product"


def seed_stock(session: Session) -> None:
    """Fills the warehouse of an empty database."""
    session.add_all(Stock(product_id=goods.id, available=goods.stock) for goods in GOODS)


def find_stock(session: Session, product_id: int) -> Stock | None:
    """Returns the remaining stock of the product, or None for an unknown id."""
    return session.get(Stock, product_id)


@trace_function("reserve stock")
@track_errors
@measure_performance
def reserve(session: Session, product_id: int, quantity: int) -> Reservation:
    """Reserves all of the pieces or none; never oversells, even under concurrent requests.

    Running out of stock is an outcome, not an error: nothing is raised for it.

    Raises:
        sqlalchemy.exc.OperationalError: the database stayed locked or cannot be written.
    """
    # A single statement, because another worker could take the last piece between a SELECT and an UPDATE.
    taking = (
        update(Stock)
        .where(Stock.product_id == product_id, Stock.available >= quantity)
        .values(available=Stock.available - quantity)
        .returning(Stock.available)
    )
    with session.begin():
        if session.execute(taking).first() is not None:
            return Reservation.RESERVED
        is_known = session.get(Stock, product_id) is not None
    return Reservation.OUT_OF_STOCK if is_known else Reservation.UNKNOWN_PRODUCT
