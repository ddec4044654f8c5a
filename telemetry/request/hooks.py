"""Functions of the application that add to server spans what only it knows."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import Span
from starlette.types import Message, Scope

logger = logging.getLogger(__name__)

RequestHook = Callable[[Span, Scope], object]
ResponseHook = Callable[[Span, Scope, Message], object]


class Hooks:
    """The hooks of one application. What they raise is logged once for each, and goes no further.

    Args:
        on_request: called with the server span and the ASGI scope before the application gets the request.
        on_response: called with the first message of the answer as well, before it is sent; by then the
            scope has what the router found, such as `path_params`.

    Raises:
        TypeError: a hook cannot be called, or is asynchronous.
    """

    def __init__(
        self, on_request: RequestHook | None = None, on_response: ResponseHook | None = None
    ) -> None:
        self.on_request = None if on_request is None else _guarded(on_request, "server_request_hook")
        self.on_response = None if on_response is None else _guarded(on_response, "server_response_hook")


def _guarded(hook: Any, name: str) -> Callable[..., None]:
    if not callable(hook) or inspect.iscoroutinefunction(hook):
        raise TypeError(f"{name}={hook!r} cannot be used: it must be a function without async")
    has_failed = False

    def call(*arguments: Any) -> None:
        nonlocal has_failed
        try:
            hook(*arguments)
        except Exception:
            if not has_failed:
                has_failed = True
                logger.exception("%s failed; further failures are not logged", name)

    return call
