"""The checkout: reserves the pieces in the inventory, then stores the order."""

from enum import StrEnum

from sqlalchemy.orm import Session

from service.storefront.inventory_client import InventoryClient, InventoryUnavailableError
from service.storefront.tables import Order, Product, find_product, store_order
from telemetry.client import TelemetryClient


class Refusal(StrEnum):
    """Why there is no order."""

    UNKNOWN_PRODUCT = "unknown_product"
    OUT_OF_STOCK = "out_of_stock"
    INVENTORY_UNAVAILABLE = "inventory_unavailable"


_PLACED = "placed"


class Checkout:
    """Places orders, and counts them by outcome; safe to share between threads.

    Args:
        client: makes the span and the counter.
        inventory: where pieces are reserved.
    """

    def __init__(self, client: TelemetryClient, inventory: InventoryClient) -> None:
        self._client = client
        self._inventory = inventory
        self._orders = client.meter.create_counter(
            "shop.orders", unit="{order}", description="Orders, by outcome"
        )

    def place(self, session: Session, product_id: int, quantity: int) -> Order | Refusal:
        """Places an order, or says why not.

        Raises:
            sqlalchemy.exc.OperationalError: the database stayed locked or cannot be written.
        """
        result = self._place(session, product_id, quantity)
        self._orders.add(1, {"outcome": _PLACED if isinstance(result, Order) else result})
        return result

    def _place(self, session: Session, product_id: int, quantity: int) -> Order | Refusal:
        product = find_product(session, product_id)
        session.commit()  # gives the connection back: the inventory may take its time
        if product is None:
            return Refusal.UNKNOWN_PRODUCT
        try:
            return self._reserve_and_store(session, product, quantity)
        except InventoryUnavailableError:
            return Refusal.INVENTORY_UNAVAILABLE

    def _reserve_and_store(self, session: Session, product: Product, quantity: int) -> Order | Refusal:
        """Too few pieces are an outcome, so the span is not marked as failed; an exception is recorded on it.

        Pieces reserved for an order that then cannot be stored are not released.
        """
        with self._client.start_span(
            "checkout", attributes={"shop.product.id": product.id, "shop.order.quantity": quantity}
        ) as span:
            is_reserved = self._inventory.reserve(product.id, quantity)
            span.set_attribute("shop.order.reserved", is_reserved)
            return store_order(session, product, quantity) if is_reserved else Refusal.OUT_OF_STOCK
