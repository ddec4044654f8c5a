"""`/v1/stock`: what is left of a product, once or as it changes."""

import asyncio
from contextlib import suppress

from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.catalogue import Identifier
from service.dependencies import OpenSession
from service.inventory.changes import StockChanges
from service.inventory.tables import find_stock

router = APIRouter(prefix="/stock", tags=["stock"])

SECONDS_BETWEEN = 0.5
"""At least so long after one message comes the next, however much is sold."""


class StockView(BaseModel):
    """The remaining stock of a product."""

    product_id: int
    available: int


@router.get("/{product_id}")
def get_stock(product_id: Identifier, session: OpenSession) -> StockView:
    """Tells how many pieces are left; 404 for an unknown product."""
    stock = find_stock(session, product_id)
    if stock is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {product_id}")
    return StockView(product_id=stock.product_id, available=stock.available)


@router.websocket("/{product_id}/watch")
async def watch_stock(socket: WebSocket, product_id: Identifier) -> None:
    """Sends what is left, at once and after each change, until the client leaves or the server stops.

    Answers 404 instead for an unknown product.
    """
    database: Engine = socket.state.database
    changes: StockChanges = socket.state.changes
    with changes.watched(product_id) as changed:
        # A session for each look: a watcher stays for hours, and must not hold a connection.
        view = await run_in_threadpool(_look, database, product_id)
        await socket.accept()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(socket, view, changed))
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass  # whatever the client says
            sending.cancel()


async def _send(socket: WebSocket, view: StockView, changed: asyncio.Event) -> None:
    database: Engine = socket.state.database
    with suppress(WebSocketDisconnect):  # the reader ends the connection
        while True:
            await socket.send_text(view.model_dump_json())
            await asyncio.sleep(SECONDS_BETWEEN)
            await changed.wait()
            changed.clear()
            view = await run_in_threadpool(_look, database, view.product_id)


def _look(database: Engine, product_id: int) -> StockView:
    with Session(database) as session:
        return get_stock(product_id, session)
