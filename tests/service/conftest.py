"""The shop that the services' tests share."""

from collections.abc import Iterator

import pytest
from support.service_processes import Shop, run_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Both services as separate processes: importing them here would set up telemetry for all tests."""
    with run_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop
