"""The storefront's tables, products on offer and orders placed, and what is asked of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from service.catalogue import GOODS
from telemetry.decorators import measure_performance, trace_function, track_errors

KEPT_ORDERS = 100_000
"""How many of the newest orders are kept, about 2 MB: a load run of hours must not fill the disk."""

_ROWS_AT_ONCE = 500


class StorefrontTable(DeclarativeBase):
    """Base of the storefront's tables."""


class Product(StorefrontTable):
    """A product that shoppers can view and order."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]


class Order(StorefrontTable):
    """An order of one product, reserved in the inventory, at the price of that moment."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int]
    quantity: Mapped[int]
    total_cents: Mapped[int]


class Sales(NamedTuple):
    """The kept orders, added up."""

    orders: int
    pieces: int
    total_cents: int


def seed_products(session: Session) -> None:
    """Puts the catalogue into an empty database."""
    session.add_all(Product(id=goods.id, name=goods.name, price_cents=goods.price_cents) for goods in GOODS)


def list_products(session: Session) -> Sequence[Product]:
    """Returns every product, by id."""
    return session.scalars(select(Product).order_by(Product.id)).all()


def find_product(session: Session, product_id: int) -> Product | None:
    """Returns the product, or None for an unknown id."""
    return session.get(Product, product_id)


def find_order(session: Session, order_id: int) -> Order | None:
    """Returns the order, or None if it was never placed or has been pruned."""
    return session.get(Order, order_id)


def newest_orders(session: Session, count: int) -> Iterator[Sequence[Order]]:
    """Yields the newest orders, latest first, some hundreds at a time: memory does not grow with `count`."""
    newest = select(Order).order_by(Order.id.desc()).limit(count)
    # Without `yield_per` every row would be loaded before the first is returned.
    yield from session.scalars(newest.execution_options(yield_per=_ROWS_AT_ONCE)).partitions()


def add_up_orders(session: Session) -> Sales:
    """Returns what the kept orders come to."""
    pieces, total_cents = (func.coalesce(func.sum(each), 0) for each in (Order.quantity, Order.total_cents))
    return Sales(*session.execute(select(func.count(Order.id), pieces, total_cents)).one())


@trace_function("store order")
@track_errors
@measure_performance
def store_order(session: Session, product: Product, quantity: int) -> Order:
    """Stores an order and returns it.

    Raises:
        sqlalchemy.exc.OperationalError: the database stayed locked or cannot be written.
    """
    order = Order(product_id=product.id, quantity=quantity, total_cents=quantity * product.price_cents)
    session.add(order)
    session.commit()
    return order


@track_errors
def prune_orders(session: Session, newest_id: int, *, keep: int = KEPT_ORDERS) -> None:
    """Deletes all but the newest orders, of which `newest_id` is the last.

    Raises:
        sqlalchemy.exc.OperationalError: the database stayed locked or cannot be written.
    """
    session.execute(delete(Order).where(Order.id <= newest_id - keep))
    session.commit()
