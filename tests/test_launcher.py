"""opentelemetry-instrument with our distribution, next to the official one, and with another."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app_server import AT_IMPORT, BIN, AppServer
from support.paths import ROOT
from uv import find_uv_bin

from requirements.install import environment_of_uv, ways_to_packages

OFFICIAL_DISTRO = (
    "opentelemetry-distro==0.66b1 "
    "--hash=sha256:bf29f42ed11397c6fbea36c1e45481d9430a27ea116719c4902bdfbdeee54605\n"
)
WITHOUT_A_LINE = """
    from fastapi import FastAPI
    app = FastAPI()
    @app.get("/hello/{name}")
    def hello(name: str): return name
"""


def test_launcher_needs_no_code(serve: Callable[..., AppServer], receiver: Any) -> None:
    """`opentelemetry-instrument uvicorn module:app` gives a plain app spans, metrics and health."""
    server = serve(WITHOUT_A_LINE, launcher=(str(BIN / "opentelemetry-instrument"),))
    assert '"name":"program"' in str(server.get("/health/telemetry")).replace(" ", "")
    assert 'route="/hello/{name}"' in str(server.get("/metrics"))
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"], output
    assert receiver.resources[0]["service.name"] == "program"
    assert "already instrumented" not in output


def test_launcher_and_setup_together_make_one_span(serve: Callable[..., AppServer], receiver: Any) -> None:
    """The launcher does not trace an app that calls setup_telemetry() a second time."""
    server = serve(AT_IMPORT, launcher=(str(BIN / "opentelemetry-instrument"),))
    server.terminate()
    assert receiver.names == ["GET /hello/{name}"]


@pytest.fixture(scope="session")
def official_distro(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with OpenTelemetry's own distribution; first on the path, it is found first."""
    folder = tmp_path_factory.mktemp("distro")
    pin = folder / "pin.txt"
    pin.write_text(OFFICIAL_DISTRO)
    install = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", folder, "-r", pin]
    subprocess.run([find_uv_bin(), *install, *ways_to_packages()], env=environment_of_uv(), check=True)
    return str(folder)


def test_launcher_uses_our_distribution_beside_the_official_one(
    serve: Callable[..., AppServer], receiver: Any, official_distro: str, tmp_path: Path
) -> None:
    """The app has our providers, health and metrics, and no settings from the other distribution."""
    path = os.pathsep.join((official_distro, str(tmp_path), str(ROOT)))
    server = serve(
        WITHOUT_A_LINE,
        launcher=(str(BIN / "opentelemetry-instrument"),),
        PYTHONPATH=path,
        OTEL_PYTHON_DISTRO="",
    )
    assert '"name":"program"' in str(server.get("/health/telemetry")).replace(" ", "")
    assert 'route="/hello/{name}"' in str(server.get("/metrics"))
    output = server.terminate()
    assert receiver.names == ["GET /hello/{name}"], output
    assert receiver.metric_pushes == [], "opentelemetry-distro pushes metrics where nothing else is said"


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        pytest.param(("--distro", "distro"), {}, id="option"),
        pytest.param((), {"OTEL_PYTHON_DISTRO": "distro"}, id="variable"),
    ],
)
def test_launcher_uses_another_distribution_where_it_is_asked_for(
    options: tuple[str, ...],
    variables: dict[str, str],
    serve: Callable[..., AppServer],
    official_distro: str,
    tmp_path: Path,
) -> None:
    """The launcher's option and its variable both work."""
    launcher = (str(BIN / "opentelemetry-instrument"), *options)
    path = os.pathsep.join((official_distro, str(tmp_path), str(ROOT)))
    settings = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    server = serve(WITHOUT_A_LINE, launcher=launcher, PYTHONPATH=path, **settings, **variables)
    assert server.get("/health/telemetry") is None
