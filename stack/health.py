"""Asking the parts over HTTP, with deadlines."""

from collections.abc import Callable
from typing import TypeVar

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from stack.errors import StackError
from stack.parts import Part
from stack.runtime import PartState

T = TypeVar("T")
# Made once, for that costs more than a request; without connections that are kept, for parts come and go.
_client = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""Thread-safe."""


class NotYetError(Exception):
    """What was looked for is not there; the message says what."""


def get(url: str, *, timeout_seconds: float = 2.0, **parameters: str) -> httpx.Response:
    """One GET on loopback.

    Raises:
        NotYetError: nobody answers, or not with 200.
    """
    try:
        answer = _client.get(url, params=parameters or None, timeout=timeout_seconds)
    except httpx.HTTPError as error:
        raise NotYetError(f"{url} does not answer ({type(error).__name__})") from error
    if answer.status_code != httpx.codes.OK:
        raise NotYetError(f"{url} answers {answer.status_code}: {answer.text[:200]}")
    return answer


def wait_for(find: Callable[[], T], *, seconds: float) -> T:
    """Calls `find` until it raises no `NotYetError` any more.

    Raises:
        StackError: the time is over; the message is the last thing that was missing.
    """
    try:
        return Retrying(
            retry=retry_if_exception_type(NotYetError), stop=stop_after_delay(seconds), wait=wait_fixed(0.1)
        )(find)
    except RetryError as error:
        raise StackError(f"{error.last_attempt.exception()} (waited {seconds:g} s)") from None


def health_of(part: Part) -> tuple[PartState, str]:
    """Whether a part that runs says that it is well, and what it says otherwise."""
    try:
        get(part.health_url)
    except NotYetError as error:
        return PartState.UNHEALTHY, str(error)
    return PartState.UP, ""
