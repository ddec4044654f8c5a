"""HTTP requests to the parts, with deadlines."""

from collections.abc import Callable
from typing import TypeVar

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from stack.errors import StackError
from stack.parts import Part
from stack.runtime import PartState

T = TypeVar("T")
# Created once, because that costs more than a request; without keep-alive, because parts come and go.
_client = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""Thread-safe."""


class NotYetError(Exception):
    """Something expected is not there yet; the message says what."""


def get(url: str, *, timeout_seconds: float = 2.0, **parameters: str) -> httpx.Response:
    """Sends one GET request on loopback.

    Raises:
        NotYetError: there is no answer, or its status is not 200.
    """
    try:
        answer = _client.get(url, params=parameters or None, timeout=timeout_seconds)
    except httpx.HTTPError as error:
        raise NotYetError(f"{url} does not answer ({type(error).__name__})") from error
    if answer.status_code != httpx.codes.OK:
        raise NotYetError(f"{url} answers {answer.status_code}: {answer.text[:200]}")
    return answer


def wait_for(find: Callable[[], T], *, seconds: float) -> T:
    """Calls `find` until it no longer raises `NotYetError`, and returns its result.

    Raises:
        StackError: the deadline has passed; the message is that of the last `NotYetError`.
    """
    try:
        return Retrying(
            retry=retry_if_exception_type(NotYetError), stop=stop_after_delay(seconds), wait=wait_fixed(0.1)
        )(find)
    except RetryError as error:
        raise StackError(f"{error.last_attempt.exception()} (waited {seconds:g} s)") from None


def health_of(part: Part) -> tuple[PartState, str]:
    """Returns whether a running part reports that it is healthy, and a detail if it does not."""
    try:
        get(part.health_url)
    except NotYetError as error:
        return PartState.UNHEALTHY, str(error)
    return PartState.UP, ""
