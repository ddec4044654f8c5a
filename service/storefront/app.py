"""The storefront as an application: `uvicorn service.storefront.app:app --port 8000`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TypedDict

from fastapi import APIRouter, FastAPI
from sqlalchemy import Engine

from service.authentication import ApiKeyMiddleware
from service.database import check_database, open_database
from service.faults import include_with_faults
from service.settings import ShopSettings
from service.storefront import admin, orders, products
from service.storefront.checkout import Checkout
from service.storefront.inventory_client import InventoryClient
from service.storefront.tables import StorefrontTable, seed_products
from service.tuning import TuningOnDemand, include_tuning
from telemetry.health_check import register_health_check
from telemetry.telemetry import setup_telemetry

settings = ShopSettings()


class State(TypedDict):
    """What requests find in `request.state`, below mounts as well."""

    database: Engine
    checkout: Checkout


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Keeps the database and the inventory connections open while the app serves."""
    database = open_database(
        settings.database_dir / "storefront.sqlite3", StorefrontTable.metadata, seed_products
    )
    # Without it the storefront is useless.
    register_health_check("database", partial(check_database, database), critical=True)
    inventory = InventoryClient(
        str(settings.inventory_url),
        api_key=settings.api_key,
        timeout_seconds=settings.inventory_timeout_seconds,
    )
    with inventory:
        async with nullcontext() if tuning is None else tuning.followed():
            yield {"database": database, "checkout": Checkout(client, inventory)}
    database.dispose()


app = FastAPI(title="storefront", lifespan=lifespan)
client = setup_telemetry(app)
app.add_middleware(ApiKeyMiddleware, key=settings.api_key)
app.mount("/admin", admin.app)
tuning = (
    TuningOnDemand(client, settings.database_dir / "storefront-tuning.json")
    if settings.is_development
    else None
)


@app.get("/healthz")
async def check_liveness() -> dict[str, str]:
    """Answers as long as the process does; depends on nothing."""
    return {"status": "ok"}


v1 = APIRouter(prefix="/v1")
v1.include_router(products.router)
v1.include_router(orders.router)
if tuning is not None:
    include_with_faults(app, v1, settings.database_dir / "storefront-faults.json")
    include_tuning(app, tuning)
else:
    app.include_router(v1)
