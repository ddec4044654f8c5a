"""A shop under a real server, with a route of each kind that the request metrics tell apart."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, StreamingResponse
from prometheus_client.core import Metric, Sample
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.responses import Response
from support.shop_app import OPEN_METRICS
from support.threaded_server import serving_in_thread
from support.traced_app import TracedApp, quiet_config
from support.waiting import wait_until

from telemetry.metrics import names

PART = b"x" * 100
PARTS = 3


async def _read(item: str) -> str:
    return item


async def _order(request: Request) -> Response:
    return Response(await request.body(), status_code=201)


async def _ignore() -> None:
    """Leaves the body unread."""


async def _stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(PARTS):
            yield PART

    return StreamingResponse(parts())


async def _file() -> FileResponse:
    return FileResponse(__file__)


async def _broken() -> None:
    raise LookupError("on purpose")


async def _halfway() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield PART
        raise LookupError("on purpose")

    return StreamingResponse(parts())


async def _unavailable() -> None:
    raise HTTPException(503)


async def _wait(request: Request) -> None:
    await request.app.state.release.wait()


async def _release(request: Request) -> None:
    request.app.state.release.set()


def build_app() -> FastAPI:
    """Builds the application."""
    app = FastAPI()
    app.state.release = asyncio.Event()
    app.head("/items/{item}")(app.get("/items/{item}")(_read))
    app.post("/orders")(_order)
    app.post("/ignored")(_ignore)
    app.post("/release")(_release)
    for path, endpoint in (
        *(("/stream", _stream), ("/file", _file), ("/broken", _broken)),
        *(("/halfway", _halfway), ("/unavailable", _unavailable), ("/waiting", _wait)),
    ):
        app.get(path, response_model=None)(endpoint)
    return app


class MeasuredShop:
    """The shop on its server, and what its page says.

    Args:
        url: the server's address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # A failed request's connection is reset, which the next one on it would notice.
        self.http = httpx.Client(base_url=url, headers={"connection": "close"})

    def families(self) -> dict[str, Metric]:
        """Returns the metrics on the page."""
        page = self.http.get("/metrics", headers=OPEN_METRICS)
        return {family.name: family for family in text_string_to_metric_families(page.text)}

    def samples(self, name: str) -> list[Sample]:
        """Returns the series of a name."""
        return [each for family in self.families().values() for each in family.samples if each.name == name]

    def value(self, name: str) -> float:
        """Returns the sum of the series of a name."""
        return sum(each.value for each in self.samples(name))

    def finishes(self, count: int) -> None:
        """Waits until so many requests have been counted: an answer arrives before that."""
        wait_until(
            f"{count} requests to be counted",
            lambda: self.value(f"{names.HTTP_DURATION_SECONDS}_count") == count,
        )


@contextmanager
def measured_shop(**settings: object) -> Iterator[MeasuredShop]:
    """Serves the shop, by default with the conventions' metrics alone."""
    traced = TracedApp(build_app(), quiet_config(**{"http_metrics": "standard", **settings}))
    with serving_in_thread(traced.app) as url:
        running = MeasuredShop(url)
        with running.http:
            yield running
            running.http.post("/release")
