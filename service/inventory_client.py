"""How the storefront asks the inventory for pieces."""

from http import HTTPStatus
from typing import Self

import httpx

from telemetry.decorators import measure_performance


class InventoryUnavailableError(Exception):
    """The inventory could not be reached, took too long, or gave an answer that makes no sense here."""


class InventoryClient:
    """Calls the inventory over pooled connections; safe to share between threads.

    Trace context travels in the headers by the HTTPX instrumentation. Nothing is retried: a
    reservation whose answer got lost may have been made, and a second try would take the pieces twice.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @measure_performance
    def reserve(self, product_id: int, quantity: int) -> bool:
        """Returns True when the pieces are reserved, False when too few are left.

        Raises:
            InventoryUnavailableError: no answer in time, or neither of the two.
        """
        try:
            answer = self._http.post("/reservations", json={"product_id": product_id, "quantity": quantity})
        except httpx.TransportError as error:
            raise InventoryUnavailableError(
                f"inventory at {self._http.base_url}: {type(error).__name__}"
            ) from error
        if answer.status_code not in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
            raise InventoryUnavailableError(
                f"inventory at {self._http.base_url} answered {answer.status_code}"
            )
        return answer.status_code == HTTPStatus.CREATED
