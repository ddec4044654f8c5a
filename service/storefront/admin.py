"""`/admin`: an application of its own, mounted in the storefront, for who runs the shop."""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from service.dependencies import OpenSession
from service.storefront.tables import Sales, add_up_orders

app = FastAPI(title="storefront: admin")


class SalesView(BaseModel):
    """What the kept orders come to."""

    model_config = ConfigDict(from_attributes=True)

    orders: int
    pieces: int
    total_cents: int


@app.get("/sales", response_model=SalesView)
def get_sales(session: OpenSession) -> Sales:
    """Adds up the orders that are kept."""
    return add_up_orders(session)
