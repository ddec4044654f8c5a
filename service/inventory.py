"""The inventory service, which reserves stock: `uvicorn service.inventory:app --port 8001`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, status
from pydantic import BaseModel
from sqlalchemy import Engine

from service.catalogue import Identifier, Quantity
from service.database import open_database
from service.faults import include_with_faults
from service.settings import ShopSettings
from service.stock import InventoryTable, Reservation, find_stock, reserve, seed_stock
from service.tuning import TuningOnDemand, include_tuning
from telemetry.telemetry import setup_telemetry

settings = ShopSettings()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keeps the database open while the app serves."""
    app.state.database = open_database(
        settings.database_dir / "inventory.sqlite3", InventoryTable.metadata, seed_stock
    )
    async with nullcontext() if tuning is None else tuning.followed():
        yield
    app.state.database.dispose()


app = FastAPI(title="inventory", lifespan=lifespan)
client = setup_telemetry(app)
tuning = (
    TuningOnDemand(client, settings.database_dir / "inventory-tuning.json")
    if settings.is_development
    else None
)
routes = APIRouter()


async def get_database(request: Request) -> Engine:
    """Returns the app's engine; async, because a synchronous dependency would cost a thread."""
    engine: Engine = request.app.state.database
    return engine


Database = Annotated[Engine, Depends(get_database)]


class StockView(BaseModel):
    """The remaining stock of a product."""

    product_id: int
    available: int


class ReservationRequest(BaseModel):
    """A request to reserve pieces of a product."""

    product_id: Identifier
    quantity: Quantity


@app.get("/healthz")
async def check_liveness() -> dict[str, str]:
    """Answers as long as the process does; depends on nothing."""
    return {"status": "ok"}


@routes.get("/stock/{product_id}")
def get_stock(product_id: Identifier, database: Database) -> StockView:
    """Tells how many pieces are left; 404 for an unknown product."""
    stock = find_stock(database, product_id)
    if stock is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {product_id}")
    return StockView(product_id=stock.product_id, available=stock.available)


@routes.post("/reservations", status_code=status.HTTP_201_CREATED)
def post_reservation(body: ReservationRequest, database: Database) -> ReservationRequest:
    """Reserves pieces; 404 for an unknown product, 409 when too few are left."""
    match reserve(database, body.product_id, body.quantity):
        case Reservation.UNKNOWN_PRODUCT:
            raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {body.product_id}")
        case Reservation.OUT_OF_STOCK:
            raise HTTPException(
                status.HTTP_409_CONFLICT, f"fewer than {body.quantity} left of {body.product_id}"
            )
        case Reservation.RESERVED:
            return body


if tuning is not None:
    include_with_faults(app, routes, settings.database_dir / "inventory-faults.json")
    include_tuning(app, tuning)
else:
    app.include_router(routes)
