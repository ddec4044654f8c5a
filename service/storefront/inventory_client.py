"""The storefront's client of the inventory service."""

from http import HTTPStatus
from typing import Self

import httpx
from pydantic import SecretStr

from telemetry.decorators import measure_performance


class InventoryUnavailableError(Exception):
    """The inventory could not be reached, timed out, or answered with an unexpected status."""


class InventoryClient:
    """A client of the inventory with pooled connections; safe to share between threads.

    The HTTPX instrumentation propagates the trace context in the headers. Nothing is retried: a
    reservation whose response was lost may have been made, and a retry would take the pieces twice.

    Args:
        base_url: where the inventory is.
        api_key: what it asks of those who reserve.
        timeout_seconds: the longest wait for a connection, and for each part of an answer.
    """

    def __init__(self, base_url: str, *, api_key: SecretStr, timeout_seconds: float) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key.get_secret_value()}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @measure_performance
    def reserve(self, product_id: int, quantity: int) -> bool:
        """Returns True when the pieces are reserved, False when too few are left.

        Raises:
            InventoryUnavailableError: there was no response in time, or one with any other status.
        """
        try:
            answer = self._http.post(
                "/v1/reservations", json={"product_id": product_id, "quantity": quantity}
            )
        except httpx.TransportError as error:
            raise InventoryUnavailableError(
                f"inventory at {self._http.base_url}: {type(error).__name__}"
            ) from error
        if answer.status_code not in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
            raise InventoryUnavailableError(
                f"inventory at {self._http.base_url} answered {answer.status_code}"
            )
        return answer.status_code == HTTPStatus.CREATED
