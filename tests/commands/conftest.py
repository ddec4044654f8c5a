"""A dead host's spool, and a Collector of either protocol to send it to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.collector import Collector
from support.dead_host import Run, encoded
from support.grpc_collector import GrpcCollector
from support.http_collector import HttpCollector
from support.spool_rig import SpoolRig

from telemetry.commands.main import main
from telemetry.settings.spool import destination_folder


@pytest.fixture(params=["grpc", "http/protobuf"])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A Collector whose protocol the environment names, as the service's does."""
    running: Collector = GrpcCollector() if request.param == "grpc" else HttpCollector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    yield running
    running.release.set()
    running.stop()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the setting."""
    monkeypatch.setenv("TELEMETRY_SPOOL_DIR", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def leave(spool: Path) -> Iterator[Callable[..., SpoolRig]]:
    """Spools batches of three spans each, for an endpoint; by default of a process that was then killed."""
    rigs: list[SpoolRig] = []

    def leave_batches(*prefixes: str, key: str = "old", is_alive: bool = False) -> SpoolRig:
        rig = SpoolRig(destination_folder(spool, key), endpoint=f"http://{key}:4317")
        for prefix in prefixes:
            rig.append(encoded(prefix))
        rigs.append(rig)
        if not is_alive:
            rig.crash()
        return rig

    yield leave_batches
    for rig in rigs:
        rig.spool.forget_after_fork()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit status, and what it wrote to both outputs."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["spool", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return run_command
