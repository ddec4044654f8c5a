"""Opening the databases."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session
from support.service_processes import clean_environment

from service.catalogue import GOODS
from service.database import check_database, open_database
from service.storefront.tables import (
    Product,
    StorefrontTable,
    find_order,
    find_product,
    seed_products,
    store_order,
)

OPEN_EACH_LINE = """
import sys
from pathlib import Path
from service.database import open_database
from sqlalchemy.orm import Session
from service.storefront.tables import StorefrontTable, list_products, seed_products
for line in sys.stdin:
    engine = open_database(Path(line.strip()), StorefrontTable.metadata, seed_products)
    with Session(engine) as session:
        print(len(list_products(session)), flush=True)
    engine.dispose()
"""


def test_database_is_seeded_once(tmp_path: Path) -> None:
    """An existing file is opened as it is."""
    path = tmp_path / "shop" / "storefront.sqlite3"
    open_database(path, StorefrontTable.metadata, seed_products).dispose()

    engine = open_database(path, StorefrontTable.metadata, seed_products)

    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Product)) == len(GOODS)
    engine.dispose()


def test_two_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    """Both see the whole catalogue in each of thirty attempts."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_EACH_LINE],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    counts: list[str] = []
    for attempt in range(30):
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{tmp_path / f'{attempt}.sqlite3'}\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout is not None
            counts.append(worker.stdout.readline().strip())
    for worker in workers:
        worker.communicate(timeout=10)

    assert counts == [str(len(GOODS))] * 60


def test_a_database_made_meanwhile_is_kept(tmp_path: Path) -> None:
    """The slower of two starting workers must not replace the database that the faster one already uses."""
    path = tmp_path / "storefront.sqlite3"

    def seed_slowly(session: Session) -> None:
        seed_products(session)
        faster = open_database(path, StorefrontTable.metadata, seed_products)
        with Session(faster) as busy:
            product = find_product(busy, 1)
            assert product is not None
            store_order(busy, product, 1)
        faster.dispose()

    slower = open_database(path, StorefrontTable.metadata, seed_slowly)

    with Session(slower) as session:
        assert find_order(session, 1) is not None
    slower.dispose()


def test_failed_seeding_leaves_no_database(tmp_path: Path) -> None:
    """The next start begins from nothing, not from half a catalogue."""

    def seed_half(session: Session) -> None:
        session.add(Product(id=1, name="Mug", price_cents=100))
        session.flush()
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        open_database(tmp_path / "storefront.sqlite3", StorefrontTable.metadata, seed_half)

    assert list(tmp_path.iterdir()) == []


def test_connections_use_the_write_ahead_log(tmp_path: Path) -> None:
    """Readers go on while another worker writes."""
    engine = open_database(tmp_path / "storefront.sqlite3", StorefrontTable.metadata, seed_products)

    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    engine.dispose()


def test_check_passes_on_a_good_database(tmp_path: Path) -> None:
    """Nothing is raised when the file can be read."""
    engine = open_database(tmp_path / "storefront.sqlite3", StorefrontTable.metadata, seed_products)

    check_database(engine)
    engine.dispose()


def test_check_raises_on_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Health reports a database that cannot be read."""
    path = tmp_path / "storefront.sqlite3"
    path.write_bytes(b"not a database" * 100)
    engine = open_database(path, StorefrontTable.metadata, seed_products)

    with pytest.raises(DatabaseError, match="not a database"):
        check_database(engine)
    engine.dispose()
