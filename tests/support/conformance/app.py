"""The applications that requests of every shape are sent to; nothing in them knows of telemetry."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from support.conformance.rooms import add_rooms

METHODS = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE", "BREW"]
FOLDER = Path(__file__).parent


class HandledError(Exception):
    """The application answers it with 418."""


class UnprintableError(Exception):
    """Cannot be printed."""

    def __str__(self) -> str:
        """Fails."""
        raise RuntimeError


def build_shop() -> FastAPI:
    """Builds an application with everything that FastAPI and Starlette offer to route by."""
    app = FastAPI()
    app.api_route("/any", methods=METHODS, include_in_schema=False)(lambda: "any")
    app.get("/items/{item}")(_item)
    app.get("/names/{name}")(lambda name: name)
    app.get("/files/{path:path}")(lambda path: path)
    app.get("/slash/")(lambda: 1)
    app.add_route("/plain/{name}", _answer)
    things = APIRouter(prefix="/things")
    things.get("/{thing}")(lambda thing: thing)
    app.include_router(things, prefix="/api/v1")
    inner = FastAPI()
    inner.get("/x/{number}")(lambda number: number)
    inner.get("/broken")(_crash)
    app.mount("/inner", inner)
    app.mount("/tenants/{tenant}", inner)
    app.mount(
        "/old", Starlette(routes=[Route("/y/{name}", _answer), Mount("/deep", routes=[Route("/z", _answer)])])
    )
    app.mount("/static", StaticFiles(directory=FOLDER))
    app.mount("/asgi", _asgi)
    app.router.routes.append(Host("{shop}.hosted", Router([Route("/hosted/{name}", _answer)])))
    app.get("/status/{code}")(lambda code: Response(status_code=int(code)))
    app.get("/redirect")(lambda: RedirectResponse("/any"))
    app.get("/file")(lambda: FileResponse(FOLDER / "app.py"))
    _add_answers(app)
    _add_failures(app)
    add_rooms(app)
    return app


def build_rooted() -> FastAPI:
    """Builds one that knows the prefix that a proxy strips."""
    app = build_shop()
    app.root_path = "/api"
    return app


def build_guarded() -> FastAPI:
    """Builds one whose middlewares answer before the router, compress, and relay."""
    app = build_shop()

    async def guard(request: Request, call_next: Callable[..., Any]) -> Response:
        if request.headers.get("x-guard") == "refuse":
            return Response(status_code=401)
        if request.headers.get("x-guard") == "raise":
            raise LookupError("in a middleware")
        answer: Response = await call_next(request)
        return answer

    app.middleware("http")(guard)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    return app


APPLICATIONS: dict[str, Callable[[], FastAPI]] = {
    "shop": build_shop,
    "rooted": build_rooted,
    "guarded": build_guarded,
}


def _item(item: int) -> int:
    return item


def _answer(request: StarletteRequest) -> Response:
    return PlainTextResponse(request.url.path)


def _crash() -> None:
    raise ValueError("on purpose")


async def _asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as the last part of the path says, without a framework."""
    how = scope["path"].rpartition("/")[2]
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": how == "trailers"}
    body = {"type": "http.response.body", "body": b"x"}
    trailers = {"type": "http.response.trailers", "headers": []}
    messages = {
        "nothing": [],
        "start": [start],
        "trailers": [start, body, trailers],
        "pathsend": [start, {"type": "http.response.pathsend", "path": str(FOLDER / "app.py")}],
        "hint": [{"type": "http.response.early_hint", "links": [b"</a>"]}, start, body],
        "twice": [start, body, body],
    }
    for message in messages[how]:
        await send(message)


def _add_answers(app: FastAPI) -> None:
    @app.get("/background")
    def background(tasks: BackgroundTasks) -> int:
        tasks.add_task(int)
        return 1

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"one", b"two"]))

    @app.get("/stream/empty")
    def empty() -> StreamingResponse:
        return StreamingResponse(iter([]))

    @app.get("/stream/forever")
    async def forever() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0)

        return StreamingResponse(parts())


def _add_failures(app: FastAPI) -> None:
    app.exception_handler(HandledError)(lambda request, error: Response(status_code=418))
    app.get("/crash")(_crash)

    def raises(error: BaseException) -> Callable[[], None]:
        def endpoint() -> None:
            raise error

        return endpoint

    def after() -> Iterator[None]:
        yield
        raise OSError("after the answer")

    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise ConnectionError("in the middle")

    app.get("/crash/handled")(raises(HandledError()))
    app.get("/crash/unprintable")(raises(UnprintableError()))
    app.get("/crash/group")(raises(ExceptionGroup("several", [ValueError("one"), KeyError("two")])))
    app.get("/crash/interrupt")(raises(KeyboardInterrupt()))
    app.get("/crash/cancelled")(raises(asyncio.CancelledError()))
    app.get("/crash/dependency", dependencies=[Depends(_crash)])(lambda: 1)
    app.get("/crash/closing", dependencies=[Depends(after)])(lambda: 1)
    app.get("/crash/stream")(lambda: StreamingResponse(broken()))
    app.get("/crash/background")(lambda: Response("x", background=BackgroundTask(_crash)))
    for code in (400, 404, 429, 500, 503):
        app.get(f"/refuse/{code}")(raises(HTTPException(code)))
