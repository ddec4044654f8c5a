"""The dependency that the routes of both services share: a database session for each request."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session


async def open_session(request: Request) -> AsyncIterator[Session]:
    """Opens a session for a request and closes it after the answer's last byte.

    Asynchronous, because a synchronous one would cost two changes of thread for what does no I/O: a
    connection is taken only for the first statement. It is the application's state that the lifespan
    yields, which mounted applications get, too.
    """
    with Session(request.state.database, expire_on_commit=False) as session:
        yield session


OpenSession = Annotated[Session, Depends(open_session)]
