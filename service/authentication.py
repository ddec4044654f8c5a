"""Authentication as middleware: what changes something needs the shop's API key, what only reads does not."""

from secrets import compare_digest

from fastapi import Security, status
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

API_KEY_IN_DOCS = Security(
    HTTPBearer(scheme_name="API key", description="SHOP_API_KEY, by default demo", auto_error=False)
)
"""Dependency of routes that write, for the lock on the page `/docs`; it is the middleware that checks."""


class ApiKeyMiddleware:
    """Pure ASGI middleware that answers 401 to a write without `Authorization: Bearer <key>`.

    Reading is open to all, and so is watching by WebSocket. It stands before the router, so a stranger
    cannot tell a path that exists from one that does not.

    Args:
        app: the application inside.
        key: the key to present.
    """

    def __init__(self, app: ASGIApp, *, key: SecretStr) -> None:
        self.app = app
        self._key = key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may pass."""
        if scope["type"] == "http" and scope["method"] not in _READING and not self._has_key(scope):
            refusal = JSONResponse(
                {"detail": "writing needs the shop's API key"},
                status_code=status.HTTP_401_UNAUTHORIZED,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        scheme, _, token = Headers(scope=scope).get("Authorization", "").partition(" ")
        # Headers are read as Latin-1: this gives the bytes that were sent. The time says nothing of the key.
        return scheme.lower() == "bearer" and compare_digest(token.strip().encode("latin-1"), self._key)
