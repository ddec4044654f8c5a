"""The rig shared by all fault tests."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support.collector import Collector
from support.fault_rig import FaultRig, MakeRig
from support.wire import Wire

from telemetry.export import pipeline as pipeline_module
from telemetry.export.worker import ExportWorker


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Builds rigs and stops them; jitter always draws the longest wait, so that waits can be measured."""
    rigs: list[FaultRig] = []
    monkeypatch.setattr(pipeline_module, "ExportWorker", partial(ExportWorker, jitter=lambda: 1.0))

    def make(to: "Collector | Wire | str", protocol: str | None = None, **settings: Any) -> FaultRig:
        endpoint = (
            to
            if isinstance(to, str)
            else f"http://127.0.0.1:{to.port}"
            if isinstance(to, Wire)
            else to.endpoint
        )
        rigs.append(FaultRig(endpoint, protocol or to.protocol, **settings))  # type: ignore[union-attr]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.pipeline.stop(0.1)
