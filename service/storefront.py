"""The storefront service, with products and orders: `uvicorn service.storefront:app --port 8000`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, status
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine

from service import orders
from service.catalogue import Identifier, Quantity
from service.database import check_database, open_database
from service.faults import include_with_faults
from service.inventory_client import InventoryClient, InventoryUnavailableError
from service.settings import ShopSettings
from service.tuning import TuningOnDemand, include_tuning
from telemetry.health_check import register_health_check
from telemetry.telemetry import setup_telemetry

settings = ShopSettings()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keeps the database and the inventory connections open while the app serves."""
    app.state.database = open_database(
        settings.database_dir / "storefront.sqlite3", orders.StorefrontTable.metadata, orders.seed_products
    )
    inventory = InventoryClient(
        str(settings.inventory_url), timeout_seconds=settings.inventory_timeout_seconds
    )
    with inventory:
        app.state.inventory = inventory
        async with nullcontext() if tuning is None else tuning.followed():
            yield
    app.state.database.dispose()


app = FastAPI(title="storefront", lifespan=lifespan)
client = setup_telemetry(app)
tuning = (
    TuningOnDemand(client, settings.database_dir / "storefront-tuning.json")
    if settings.is_development
    else None
)
order_count = client.meter.create_counter("shop.orders", unit="{order}", description="Orders, by outcome")
routes = APIRouter()


def check_orders_database() -> None:
    """Raises if the database cannot be read: without it the storefront is useless."""
    check_database(app.state.database)


register_health_check("database", check_orders_database, critical=True)


async def get_database(request: Request) -> Engine:
    """Returns the app's engine; async, because a synchronous dependency would cost a thread."""
    engine: Engine = request.app.state.database
    return engine


async def get_inventory(request: Request) -> InventoryClient:
    """Returns the app's inventory client."""
    inventory: InventoryClient = request.app.state.inventory
    return inventory


Database = Annotated[Engine, Depends(get_database)]
Inventory = Annotated[InventoryClient, Depends(get_inventory)]


class ProductView(BaseModel):
    """A product as shoppers see it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    price_cents: int


class OrderRequest(BaseModel):
    """An order as shoppers submit it."""

    product_id: Identifier
    quantity: Quantity = 1


class OrderView(BaseModel):
    """An order as shoppers see it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    product_id: int
    quantity: int
    total_cents: int


@app.get("/healthz")
async def check_liveness() -> dict[str, str]:
    """Answers as long as the process does; depends on nothing."""
    return {"status": "ok"}


@routes.get("/products", response_model=list[ProductView])
def get_products(database: Database) -> Sequence[orders.Product]:
    """Lists what is on offer."""
    return orders.list_products(database)


@routes.get("/products/{product_id}", response_model=ProductView)
def get_product(product_id: Identifier, database: Database) -> orders.Product:
    """Shows one product; 404 for an unknown one."""
    product = orders.find_product(database, product_id)
    if product is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {product_id}")
    return product


@routes.post("/orders", status_code=status.HTTP_201_CREATED, response_model=OrderView)
def post_order(body: OrderRequest, database: Database, inventory: Inventory) -> orders.Order:
    """Reserves in the inventory, then stores: 404 unknown product, 409 out of stock, 503 no inventory."""
    product = orders.find_product(database, body.product_id)
    if product is None:
        order_count.add(1, {"outcome": "unknown_product"})
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {body.product_id}")
    try:
        order = check_out(product, body.quantity, database, inventory)
    except InventoryUnavailableError as error:
        order_count.add(1, {"outcome": "inventory_unavailable"})
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE, "the inventory does not answer", headers={"Retry-After": "1"}
        ) from error
    if order is None:
        order_count.add(1, {"outcome": "out_of_stock"})
        raise HTTPException(status.HTTP_409_CONFLICT, f"fewer than {body.quantity} left of {body.product_id}")
    order_count.add(1, {"outcome": "placed"})
    return order


@routes.get("/orders/{order_id}", response_model=OrderView)
def get_order(order_id: Identifier, database: Database) -> orders.Order:
    """Shows one order; 404 for one never placed or dropped since."""
    order = orders.find_order(database, order_id)
    if order is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no order {order_id}")
    return order


def check_out(
    product: orders.Product, quantity: int, database: Engine, inventory: InventoryClient
) -> orders.Order | None:
    """Reserves the pieces and stores the order; returns None if too few pieces are left.

    Too few pieces are an outcome, so the span is not marked as failed. Pieces reserved for an order that
    then cannot be stored are not released.

    Raises:
        InventoryUnavailableError: the inventory is unavailable; the span records the exception.
    """
    with client.start_span(
        "checkout", attributes={"shop.product.id": product.id, "shop.order.quantity": quantity}
    ) as span:
        is_reserved = inventory.reserve(product.id, quantity)
        span.set_attribute("shop.order.reserved", is_reserved)
        return orders.store_order(database, product, quantity) if is_reserved else None


if tuning is not None:
    include_with_faults(app, routes, settings.database_dir / "storefront-faults.json")
    include_tuning(app, tuning)
else:
    app.include_router(routes)
