"""The session that a request gets."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from service.database import open_database
from service.dependencies import OpenSession
from service.storefront.tables import StorefrontTable, seed_products


def connections_in_use(database: Engine) -> int:
    """Returns how many connections are taken from the pool."""
    pool: Any = database.pool
    count: int = pool.checkedout()
    return count


def test_session_lives_until_the_last_byte_and_no_longer(tmp_path: Path) -> None:
    """A streamed answer reads with it; afterwards its connection is free, even if the endpoint failed."""
    database = open_database(tmp_path / "shop.sqlite3", StorefrontTable.metadata, seed_products)
    while_streaming: list[int] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Engine]]:
        yield {"database": database}

    app = FastAPI(lifespan=lifespan)

    @app.get("/names")
    def stream_names(session: OpenSession) -> StreamingResponse:
        def names() -> Iterator[str]:
            for (name,) in session.execute(text("SELECT name FROM products")):
                while_streaming.append(connections_in_use(database))
                yield name

        return StreamingResponse(names())

    @app.get("/broken")
    def broken(session: OpenSession) -> None:
        session.execute(text("SELECT 1"))
        raise RuntimeError("on purpose")

    with TestClient(app, raise_server_exceptions=False) as client:
        assert connections_in_use(database) == 0
        assert "dripper" in client.get("/names").text
        assert while_streaming == [1] * 12
        assert connections_in_use(database) == 0
        assert client.get("/broken").status_code == 500
        assert connections_in_use(database) == 0
    database.dispose()
