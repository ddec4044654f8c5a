"""Fixtures for spools in one folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.spool_rig import SpoolRig


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SpoolRig]]:
    """Makes spools in one folder; each is closed at the end, and its ledger must add up."""
    rigs: list[SpoolRig] = []

    def build(**settings: Any) -> SpoolRig:
        rigs.append(SpoolRig(tmp_path / "spool", **settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        assert rig.ledger.read().is_balanced
        rig.spool.forget_after_fork()
