"""`/v1/reservations`: taking pieces out of the stock."""

from fastapi import APIRouter, HTTPException, Request, status
from pydantic import BaseModel

from service.authentication import API_KEY_IN_DOCS
from service.catalogue import Identifier, Quantity
from service.dependencies import OpenSession
from service.inventory.tables import Reservation, reserve

router = APIRouter(prefix="/reservations", tags=["reservations"])


class ReservationRequest(BaseModel):
    """A request to reserve pieces of a product."""

    product_id: Identifier
    quantity: Quantity


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[API_KEY_IN_DOCS])
def post_reservation(body: ReservationRequest, request: Request, session: OpenSession) -> ReservationRequest:
    """Reserves pieces; 404 for an unknown product, 409 when too few are left."""
    match reserve(session, body.product_id, body.quantity):
        case Reservation.UNKNOWN_PRODUCT:
            raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {body.product_id}")
        case Reservation.OUT_OF_STOCK:
            raise HTTPException(
                status.HTTP_409_CONFLICT, f"fewer than {body.quantity} left of {body.product_id}"
            )
        case Reservation.RESERVED:
            request.state.changes.announce(body.product_id)
            return body
