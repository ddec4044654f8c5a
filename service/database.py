"""One SQLite file for each service, safe to open from many threads and several workers."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy
from sqlalchemy import Engine, MetaData, text
from sqlalchemy.orm import Session

from telemetry.decorators import trace_function

BUSY_TIMEOUT_SECONDS = 5.0
"""How long a writer waits for another process's write."""

WAL_LIMIT_BYTES = 16 * 1024 * 1024
"""What is left of the write-ahead log after a checkpoint."""


def open_database(path: Path, tables: MetaData, seed: Callable[[Session], None]) -> Engine:
    """Opens the file, made with its tables and seeded when absent, as a thread-safe engine.

    The file is built complete under another name and then linked into place, which either
    succeeds or finds a finished file: two workers starting at once, or one killed half-way,
    leave neither an empty database nor a doubly seeded one.

    Call it after telemetry is set up: engines made earlier are not traced.

    Raises:
        OSError: the folder cannot be made or written.
        sqlalchemy.exc.OperationalError: the file cannot be opened.
    """
    if not path.exists():
        _create_database(path, tables, seed)
    return _connect_lazily(path)


def check_database(engine: Engine) -> None:
    """Reads from the file.

    Raises:
        sqlalchemy.exc.DBAPIError: the database cannot be read.
    """
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM sqlite_schema LIMIT 1"))


@trace_function("create database")
def _create_database(path: Path, tables: MetaData, seed: Callable[[Session], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as workplace:
        draft = Path(workplace) / path.name
        engine = _connect_lazily(draft)
        try:
            tables.create_all(engine)
            with Session(engine) as session, session.begin():
                seed(session)
        finally:
            # Closing the last connection also folds the write-ahead log back into the file.
            engine.dispose()
        with suppress(FileExistsError):
            path.hardlink_to(draft)


def _connect_lazily(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        # Readers and the one writer do not block each other; a crash of the machine may cost the last
        # orders, never the file (sqlite.org/pragma.html, synchronous).
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        return connection

    # The URL only names the database: instrumentation puts it into span names, where a path has no place.
    # And it replaces `create_engine` in its module: a name imported earlier would be the untraced one.
    return sqlalchemy.create_engine(f"sqlite:///{path.name}", creator=connect, pool_size=10, max_overflow=30)
