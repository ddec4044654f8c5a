"""`/v1/orders`: placing them, looking at one, and exporting many."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Query, Request, status
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.authentication import API_KEY_IN_DOCS
from service.catalogue import Identifier, Quantity
from service.dependencies import OpenSession
from service.storefront.checkout import Checkout, Refusal
from service.storefront.tables import KEPT_ORDERS, Order, find_order, newest_orders, prune_orders

router = APIRouter(prefix="/orders", tags=["orders"])


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


async def get_checkout(request: Request) -> Checkout:
    """Returns the application's checkout; async, because a synchronous dependency would cost a thread."""
    checkout: Checkout = request.state.checkout
    return checkout


@router.post(
    "", status_code=status.HTTP_201_CREATED, response_model=OrderView, dependencies=[API_KEY_IN_DOCS]
)
def post_order(
    body: OrderRequest,
    request: Request,
    session: OpenSession,
    checkout: Annotated[Checkout, Depends(get_checkout)],
    afterwards: BackgroundTasks,
) -> Order:
    """Reserves in the inventory, then stores: 404 unknown product, 409 out of stock, 503 no inventory.

    Old orders are dropped when the answer has been sent.
    """
    match checkout.place(session, body.product_id, body.quantity):
        case Order() as order:
            afterwards.add_task(_prune, request.state.database, order.id)
            return order
        case Refusal.UNKNOWN_PRODUCT:
            raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {body.product_id}")
        case Refusal.OUT_OF_STOCK:
            raise HTTPException(
                status.HTTP_409_CONFLICT, f"fewer than {body.quantity} left of {body.product_id}"
            )
        case Refusal.INVENTORY_UNAVAILABLE:
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE,
                "the inventory does not answer",
                headers={"Retry-After": "1"},
            )


@router.get("/export", response_class=StreamingResponse)
def export_orders(
    session: OpenSession, newest: Annotated[int, Query(ge=1, le=KEPT_ORDERS)] = 1_000
) -> StreamingResponse:
    """Streams the newest orders, latest first, as lines of JSON."""
    return StreamingResponse(_as_lines(newest_orders(session, newest)), media_type="application/x-ndjson")


@router.get("/{order_id}", response_model=OrderView)
def get_order(order_id: Identifier, session: OpenSession) -> Order:
    """Shows one order; 404 for one never placed or dropped since."""
    order = find_order(session, order_id)
    if order is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no order {order_id}")
    return order


def _as_lines(parts: Iterable[Sequence[Order]]) -> Iterator[str]:
    # Each part is a change of thread, so it is many lines.
    for orders in parts:
        yield "".join(f"{OrderView.model_validate(order).model_dump_json()}\n" for order in orders)


def _prune(database: Engine, newest_id: int) -> None:
    """Has a session of its own: the request's is for the answer."""
    with Session(database) as session:
        prune_orders(session, newest_id)
