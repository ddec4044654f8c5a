"""The shoppers: they browse, order, look at their order, and get things wrong now and then.

Now and then somebody of the shop looks at what was sold, or takes the newest orders away.

Nothing here sends `traceparent`, because that would decide the shop's sampling; a request's trace is read
from the `traceresponse` header of its response.
"""

import json
import os
import random
import time
from http import HTTPStatus
from typing import Any

from locust import FastHttpUser, task

from loadtest.load.links import TraceLinks, read_trace
from loadtest.load.pacing import Pace
from loadtest.load.schedule import Schedule

PRODUCTS_IN_STOCK = range(1, 12)
SOLD_OUT_PRODUCT = 12
UNKNOWN_PRODUCT = 999
EXPORTED_ORDERS = 200
API_KEY = {"Authorization": f"Bearer {os.environ.get('SHOP_API_KEY') or 'demo'}"}
"""The header without which the shop takes no order."""

pace = Pace()
"""Of this process, as are its links."""
links = TraceLinks()


class Shopper(FastHttpUser):
    """A shopper. Each task sends one request, so that the rate of tasks is the rate of requests."""

    connection_timeout = 5.0
    network_timeout = 15.0

    def on_start(self) -> None:
        """Spreads the shoppers over the interval; otherwise all would start at the same moment."""
        self._order_id: int | None = None
        now = time.monotonic()
        share = random.random()  # noqa: S311 - no secret
        self._schedule = Schedule(pace.next_due(now, self.environment, share=share))
        # Locust has patched `sleep`: only this shopper waits.
        time.sleep(self._schedule.due - now)

    def wait_time(self) -> float:
        """Returns the seconds until the next request is due."""
        return self._schedule.advance(lambda due: pace.next_due(due, self.environment), time.monotonic())

    @task(18)
    def browse(self) -> None:
        """Looks at the list of products."""
        self._ask("GET", "/v1/products")

    @task(33)
    def look_at_product(self) -> None:
        """Looks at one product."""
        product_id = random.choice(PRODUCTS_IN_STOCK)  # noqa: S311 - no secret
        self._ask("GET", f"/v1/products/{product_id}", name="/v1/products/{product_id}")

    @task(20)
    def order(self) -> None:
        """Orders one to three pieces."""
        body = {"product_id": random.choice(PRODUCTS_IN_STOCK), "quantity": random.randint(1, 3)}  # noqa: S311 - no secret
        order = self._ask("POST", "/v1/orders", body=body, expect=HTTPStatus.CREATED)
        if order is not None:
            self._order_id = json.loads(order)["id"]

    @task(15)
    def look_at_order(self) -> None:
        """Looks at the shopper's latest order, or browses if there is none yet."""
        if self._order_id is None:
            self.browse()
        else:
            self._ask("GET", f"/v1/orders/{self._order_id}", name="/v1/orders/{order_id}")

    @task(2)
    def export_orders(self) -> None:
        """Takes the newest orders away, which are streamed."""
        self._ask("GET", f"/v1/orders/export?newest={EXPORTED_ORDERS}", name="/v1/orders/export")

    @task(1)
    def look_at_sales(self) -> None:
        """Looks at what was sold, in the mounted application."""
        self._ask("GET", "/admin/sales")

    @task(4)
    def follow_dead_link(self) -> None:
        """Looks at a product that the shop never had."""
        self._ask(
            "GET",
            f"/v1/products/{UNKNOWN_PRODUCT}",
            name="/v1/products/{product_id} (unknown)",
            expect=HTTPStatus.NOT_FOUND,
        )

    @task(4)
    def order_sold_out(self) -> None:
        """Orders a product that is sold out."""
        body = {"product_id": SOLD_OUT_PRODUCT, "quantity": 1}
        self._ask("POST", "/v1/orders", name="/v1/orders (sold out)", body=body, expect=HTTPStatus.CONFLICT)

    @task(2)
    def order_nonsense(self) -> None:
        """Sends a malformed order."""
        body = {"product_id": "a kettle", "quantity": 0}
        expect = HTTPStatus.UNPROCESSABLE_ENTITY
        self._ask("POST", "/v1/orders", name="/v1/orders (malformed)", body=body, expect=expect)

    @task(1)
    def order_as_a_stranger(self) -> None:
        """Orders without the shop's key."""
        self._ask(
            "POST",
            "/v1/orders",
            name="/v1/orders (no key)",
            body={"product_id": 1},
            headers={},
            expect=HTTPStatus.UNAUTHORIZED,
        )

    def _ask(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] = API_KEY,
        expect: HTTPStatus = HTTPStatus.OK,
    ) -> str | None:
        """Sends a request; returns the response's text if its status is expected, else reports a failure."""
        due, started = self._schedule.due, time.monotonic()
        context = {"expect": expect, "due": due, "started": started}
        with self.client.request(
            method, path, name=name, json=body, headers=headers, catch_response=True, context=context
        ) as response:
            # Locust's own statistics also count from when the request was due.
            response.request_meta["response_time"] += max(0.0, started - due) * 1000
            if response.status_code == expect:
                response.success()
                text: str = response.text
                return text
            if response.status_code:
                options: Any = self.environment.parsed_options
                error = f"answered {response.status_code} instead of {expect.value}"
                trace_id, _ = read_trace(response)
                key = (method, name or path)
                response.failure(links.described(*key, error, trace_id, template=options.trace_url))
            # Otherwise there was no response, and Locust itself reports the connection's error.
        return None
