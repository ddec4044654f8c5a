"""The inventory as an application: `uvicorn service.inventory.app:app --port 8001`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TypedDict

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from service.authentication import ApiKeyMiddleware
from service.database import open_database
from service.faults import include_with_faults
from service.inventory import reservations, stock
from service.inventory.changes import StockChanges
from service.inventory.tables import InventoryTable, seed_stock
from service.settings import ShopSettings
from service.tuning import TuningOnDemand, include_tuning
from telemetry.telemetry import setup_telemetry

settings = ShopSettings()


class State(TypedDict):
    """What requests find in `request.state`."""

    database: Engine
    changes: StockChanges


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Keeps the database open while the app serves."""
    database = open_database(settings.database_dir / "inventory.sqlite3", InventoryTable.metadata, seed_stock)
    async with nullcontext() if tuning is None else tuning.followed():
        yield {"database": database, "changes": StockChanges(asyncio.get_running_loop())}
    database.dispose()


app = FastAPI(title="inventory", lifespan=lifespan)
client = setup_telemetry(app)
app.add_middleware(ApiKeyMiddleware, key=settings.api_key)
tuning = (
    TuningOnDemand(client, settings.database_dir / "inventory-tuning.json")
    if settings.is_development
    else None
)


@app.get("/healthz")
async def check_liveness() -> dict[str, str]:
    """Answers as long as the process does; depends on nothing."""
    return {"status": "ok"}


v1 = APIRouter(prefix="/v1")
v1.include_router(stock.router)
v1.include_router(reservations.router)
if tuning is not None:
    include_with_faults(app, v1, settings.database_dir / "inventory-faults.json")
    include_tuning(app, tuning)
else:
    app.include_router(v1)
