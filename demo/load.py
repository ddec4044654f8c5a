"""Shoppers at a constant rate: the next request is sent when it is due, however late the responses are."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable

import httpx

from demo.programs import Shop
from demo.story import Request
from service.settings import DEMO_API_KEY

_PRODUCTS = range(1, 12)
_KEY = {"Authorization": f"Bearer {DEMO_API_KEY}"}


async def shop_until(
    shop: Shop, rate: float, is_over: Callable[[], bool], began: float, note: Callable[[Request], None]
) -> None:
    """Sends requests until `is_over()`, and waits for their responses.

    Args:
        shop: the shop to send them to.
        rate: requests a second.
        is_over: called before each request.
        began: the story's beginning on the monotonic clock.
        note: called with each finished request.
    """
    chance = random.Random(1)  # noqa: S311 - the same shoppers each time
    async with (
        httpx.AsyncClient(base_url=shop.url("storefront", ""), headers=_KEY, timeout=10) as client,
        asyncio.TaskGroup() as all_of_them,
    ):
        for number in itertools.count():
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if is_over():
                return
            all_of_them.create_task(_ask(client, chance.random(), chance.choice(_PRODUCTS), due, began, note))


async def _ask(
    client: httpx.AsyncClient,
    chance: float,
    product: int,
    due: float,
    began: float,
    note: Callable[[Request], None],
) -> None:
    try:
        if chance < 0.2:  # noqa: PLR2004 - one in five orders
            answer = await client.post("/v1/orders", json={"product_id": product, "quantity": 1})
            # Sold out is an expected response, too.
            is_failed = answer.status_code not in {httpx.codes.CREATED, httpx.codes.CONFLICT}
        else:
            answer = await client.get("/v1/products" if chance < 0.5 else f"/v1/products/{product}")  # noqa: PLR2004
            is_failed = answer.status_code != httpx.codes.OK
    except httpx.HTTPError:
        is_failed = True
    note(Request(due - began, (time.monotonic() - due) * 1000, is_failed))
