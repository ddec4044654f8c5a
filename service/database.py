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
"""The size to which the write-ahead log is truncated after a checkpoint."""


def open_database(path: Path, tables: MetaData, seed: Callable[[Session], None]) -> Engine:
    """Opens the file as a thread-safe engine; creates its tables and seeds them if the file is missing.

    A new file is completed under another name and then linked into place, which either succeeds or
    finds a finished file. So two workers that start at once, or one that is killed midway, leave
    neither an empty database nor one that was seeded twice.

    Call it after telemetry is set up: engines created earlier are not traced.

    Raises:
        OSError: the folder cannot be created or written to.
        sqlalchemy.exc.OperationalError: the file cannot be opened.
    """
    if not path.exists():
        _create_database(path, tables, seed)
    return _connect_lazily(path)


def check_database(engine: Engine) -> None:
    """Checks that the database can be read.

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
        try:
            # Readers and the one writer do not block each other; a crash of the machine may lose the last
            # orders but does not corrupt the file (sqlite.org/pragma.html, synchronous).
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # The URL only names the database: instrumentation puts it into span names, where a path does not belong.
    # It also replaces `create_engine` in its module: a name imported earlier would be the untraced function.
    return sqlalchemy.create_engine(f"sqlite:///{path.name}", creator=connect, pool_size=10, max_overflow=30)
