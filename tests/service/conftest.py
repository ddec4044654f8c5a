"""The shop that the tests of the services share."""

from collections.abc import Iterator

import pytest
from support.service_processes import Shop, run_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Both services as processes of their own: imported here they would set telemetry up for all tests."""
    with run_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop
