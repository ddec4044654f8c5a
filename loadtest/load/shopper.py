"""The shoppers: they browse, order, look at their order, and get things wrong now and then.

Nothing here sends `traceparent`, because that would decide the shop's sampling; a request's trace is read
from the `traceresponse` header of its response.
"""

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

    @task(20)
    def browse(self) -> None:
        """Looks at the list of products."""
        self._ask("GET", "/products")

    @task(35)
    def look_at_product(self) -> None:
        """Looks at one product."""
        product_id = random.choice(PRODUCTS_IN_STOCK)  # noqa: S311 - no secret
        self._ask("GET", f"/products/{product_id}", name="/products/{product_id}")

    @task(20)
    def order(self) -> None:
        """Orders one to three pieces."""
        body = {"product_id": random.choice(PRODUCTS_IN_STOCK), "quantity": random.randint(1, 3)}  # noqa: S311 - no secret
        order = self._ask("POST", "/orders", json=body, expect=HTTPStatus.CREATED)
        if order is not None:
            self._order_id = order["id"]

    @task(15)
    def look_at_order(self) -> None:
        """Looks at the shopper's latest order, or browses if there is none yet."""
        if self._order_id is None:
            self.browse()
        else:
            self._ask("GET", f"/orders/{self._order_id}", name="/orders/{order_id}")

    @task(4)
    def follow_dead_link(self) -> None:
        """Looks at a product that the shop never had."""
        self._ask(
            "GET",
            f"/products/{UNKNOWN_PRODUCT}",
            name="/products/{product_id} (unknown)",
            expect=HTTPStatus.NOT_FOUND,
        )

    @task(4)
    def order_sold_out(self) -> None:
        """Orders a product that is sold out."""
        body = {"product_id": SOLD_OUT_PRODUCT, "quantity": 1}
        self._ask("POST", "/orders", name="/orders (sold out)", json=body, expect=HTTPStatus.CONFLICT)

    @task(2)
    def order_nonsense(self) -> None:
        """Sends a malformed order."""
        body = {"product_id": "a kettle", "quantity": 0}
        expect = HTTPStatus.UNPROCESSABLE_ENTITY
        self._ask("POST", "/orders", name="/orders (malformed)", json=body, expect=expect)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        json: dict[str, Any] | None = None,
        expect: HTTPStatus = HTTPStatus.OK,
    ) -> dict[str, Any] | None:
        """Sends a request; returns the response's body if its status is expected, else reports a failure."""
        due, started = self._schedule.due, time.monotonic()
        context = {"expect": expect, "due": due, "started": started}
        with self.client.request(
            method, path, name=name, json=json, catch_response=True, context=context
        ) as response:
            # Locust's own statistics also count from when the request was due.
            response.request_meta["response_time"] += max(0.0, started - due) * 1000
            if response.status_code == expect:
                response.success()
                body: dict[str, Any] = response.json()
                return body
            if response.status_code:
                options: Any = self.environment.parsed_options
                error = f"answered {response.status_code} instead of {expect.value}"
                trace_id, _ = read_trace(response)
                key = (method, name or path)
                response.failure(links.described(*key, error, trace_id, template=options.trace_url))
            # Otherwise there was no response, and Locust itself reports the connection's error.
        return None
