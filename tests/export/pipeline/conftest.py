"""Pipelines that send to the receiver."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.pipeline_rig import ReceiverRig


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
