"""The README's examples run, and the commands and variables that it names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.paths import ROOT

from telemetry.config import TelemetryConfig

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_example_runs_as_it_stands(receiver: Any, tmp_path: Path) -> None:
    """The unchanged example serves requests and its spans arrive."""
    example, _, _ = EXAMPLES
    assert len([line for line in example.splitlines() if line]) <= 15
    script = example + (
        "\nfrom fastapi.testclient import TestClient\n"
        "with TestClient(app) as http:\n"
        "    assert http.get('/quote/OTLP').json() == {'symbol': 'OTLP'}\n"
        "    assert 'app_function_duration_ms' in http.get('/metrics').text\n"
    )
    (tmp_path / "example.py").write_text(script)
    subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    names = sorted(receiver.names)
    assert names[0] == "GET /quote/{symbol}"
    assert "price" in names
    assert len(names) == 3


def test_other_examples_run_with_what_they_take_for_granted(receiver: Any, tmp_path: Path) -> None:
    """The test provides the check and the provider that the examples assume."""
    _, job, own_provider = EXAMPLES
    script = (
        "ping = lambda: True\n"
        + job
        + "from opentelemetry.sdk.trace import TracerProvider\nprovider = TracerProvider()\n"
        + own_provider.replace("/var/lib/shop/spool", str(tmp_path / "spool"))
        + "provider.get_tracer('own').start_span('own').end()\nprovider.shutdown()\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
        check=True,
        timeout=30,
    )
    assert receiver.names == ["operation_name", "own"]
    assert (tmp_path / "spool").is_dir()


def test_every_command_named_is_a_target_and_every_variable_a_setting() -> None:
    """Each `make …` is in the Makefile, and each TELEMETRY_… variable is read."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z][a-z-]*)", README)) <= targets | {"alone"}
    variables = set(re.findall(r"`((?:TELEMETRY|OTEL_BSP|OTEL_TRACES|OTEL_METRICS)_[A-Z_]+[A-Z])`", README))
    assert variables
    assert variables <= TelemetryConfig.variables().keys()
