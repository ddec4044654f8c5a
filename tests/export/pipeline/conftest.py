"""Pipelines that send to the receiver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.pipeline_rig import ReceiverRig, SpooledRig


@pytest.fixture
def make_rig(receiver: Any) -> Iterator[Callable[..., ReceiverRig]]:
    """Builds rigs and stops them at the end."""
    rigs: list[ReceiverRig] = []

    def make(**settings: Any) -> ReceiverRig:
        rigs.append(ReceiverRig(receiver, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pipeline.stop(0.2)


@pytest.fixture
def make_spooled(receiver: Any, tmp_path: Path) -> Iterator[Callable[..., SpooledRig]]:
    """Makes rigs that share a spool folder, and stops them."""
    rigs: list[SpooledRig] = []

    def build(mode: str = "outage", **settings: Any) -> SpooledRig:
        rigs.append(SpooledRig(receiver.endpoint, tmp_path / "spool", spool_mode=mode, **settings))
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.pipeline.stop(0.2)
        assert rig.ledger
