"""The storefront's tables: products on offer and the orders placed."""

from collections.abc import Sequence

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from service.catalogue import GOODS
from telemetry.decorators import measure_performance, trace_function, track_errors

KEPT_ORDERS = 100_000
"""How many of the newest orders are kept, about 2 MB: a load run of hours must not fill the disk."""

PRUNE_EVERY = 1_000
"""Number of orders between two prunings."""


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


def seed_products(session: Session) -> None:
    """Puts the catalogue into an empty database."""
    session.add_all(Product(id=goods.id, name=goods.name, price_cents=goods.price_cents) for goods in GOODS)


def list_products(database: Engine) -> Sequence[Product]:
    """Returns every product, by id."""
    with Session(database) as session:
        return session.scalars(select(Product).order_by(Product.id)).all()


def find_product(database: Engine, product_id: int) -> Product | None:
    """Returns the product, or None for an unknown id."""
    with Session(database) as session:
        return session.get(Product, product_id)


def find_order(database: Engine, order_id: int) -> Order | None:
    """Returns the order, or None if it was never placed or has been pruned."""
    with Session(database) as session:
        return session.get(Order, order_id)


@trace_function("store order")
@track_errors
@measure_performance
def store_order(database: Engine, product: Product, quantity: int, *, keep: int = KEPT_ORDERS) -> Order:
    """Stores an order and returns it; periodically prunes all but the newest `keep` orders.

    Raises:
        sqlalchemy.exc.OperationalError: the database stayed locked or cannot be written.
    """
    order = Order(product_id=product.id, quantity=quantity, total_cents=quantity * product.price_cents)
    with Session(database, expire_on_commit=False) as session, session.begin():
        session.add(order)
        session.flush()
        if order.id % PRUNE_EVERY == 0:
            session.execute(delete(Order).where(Order.id <= order.id - keep))
    return order
