"""The doctor's findings on a stack that is down, up, and broken part by part."""

import io
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from rich.console import Console
from support.paths import ROOT
from support.running_stack import Stack

from stack.console_page import ConsolePage
from stack.doctor import Finding, Severity, _telemetry, examine
from stack.health import get
from stack.native.runtime import NativeRuntime
from stack.report import print_findings
from stack.service_variables import authorization
from stack.services import STOREFRONT
from stack.settings import StackSettings
from telemetry.health.report import SpoolHealth, TelemetryHealth, read_report


def of(findings: Sequence[Finding], subject: str) -> Finding:
    """Returns the one finding about a subject."""
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def test_stack_that_is_down_is_reported_with_its_remedy(
    settings: StackSettings, runtime: NativeRuntime
) -> None:
    """The findings also say whether its ports are free."""
    findings = examine(settings, runtime, "nothing is up")
    assert of(findings, "runtime") == Finding(
        "runtime", Severity.ERROR, "the stack is down (native: nothing is up)", "make up"
    )
    assert of(findings, "ports").severity is Severity.OK


def test_several_distributions_are_reported_unless_one_is_chosen(
    settings: StackSettings, runtime: NativeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alone is no finding."""

    def found() -> list[Finding]:
        findings = examine(settings, runtime, "nothing is up")
        return [finding for finding in findings if finding.subject == "distributions"]

    assert found() == []
    official = tmp_path / "opentelemetry_distro-1.0.dist-info"
    official.mkdir()
    (official / "METADATA").write_text("Metadata-Version: 2.1\nName: opentelemetry-distro\nVersion: 1.0\n")
    (official / "entry_points.txt").write_text(
        "[opentelemetry_distro]\ndistro = opentelemetry.distro:Distro\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = found()
    assert finding.severity is Severity.WARNING
    assert finding.what.startswith("several are installed (distro, telemetry)")
    assert "OTEL_PYTHON_DISTRO=telemetry" in finding.remedy
    monkeypatch.setenv("OTEL_PYTHON_DISTRO", "telemetry")
    assert found() == []


def test_port_that_is_taken_is_reported_with_its_holder_and_its_variable(
    settings: StackSettings, runtime: NativeRuntime
) -> None:
    """This is found before anybody tries to start."""
    with socket.create_server(("127.0.0.1", settings.jaeger_port)):
        found = of(examine(settings, runtime, "nothing is up"), "ports")
    assert found.severity is Severity.ERROR
    assert f"port {settings.jaeger_port} is in use by" in found.what
    assert "JAEGER_PORT" in found.remedy


def test_console_is_a_part_too(settings: StackSettings, runtime: NativeRuntime) -> None:
    """It is found dead beside a stack that is up, and its port taken where all is down."""
    page = ConsolePage(settings, "native", Console(quiet=True))
    with socket.create_server(("127.0.0.1", settings.console_port)):
        found = of(examine(settings, runtime, "nothing is up", page), "ports")
    assert found.severity is Severity.ERROR
    assert "CONSOLE_PORT" in found.remedy
    up: Any = SimpleNamespace(kind="native", missing=(), is_up=lambda: True, status=list)
    found = of(examine(settings, up, "it is up", page), "console")
    assert (found.severity, found.what) == (Severity.ERROR, "stopped")
    assert "make up" in found.remedy


@pytest.mark.timeout(180)
def test_parts_that_are_dead_frozen_or_no_prometheus(settings: StackSettings, runtime: NativeRuntime) -> None:
    """Each has its remedy, and a stand-in for Prometheus is recognised."""
    runtime.up()
    runtime.kill("collector")
    runtime.pause("inventory")
    findings = examine(settings, runtime, "it is up")
    collector, inventory = of(findings, "collector"), of(findings, "inventory")
    assert (collector.severity, collector.remedy) == (Severity.ERROR, "make start PART=collector")
    assert collector.what.startswith("stopped; its last lines: listening on")
    assert (inventory.severity, inventory.what, inventory.remedy) == (
        Severity.ERROR,
        "paused",
        "make resume PART=inventory",
    )
    assert of(findings, "storefront").severity is Severity.OK
    assert any("is not the API of a Prometheus" in finding.what for finding in findings)
    assert of(findings, "telemetry of inventory").severity is Severity.ERROR


@pytest.mark.timeout(180)
def test_plan_of_faults_is_reported_until_it_is_taken_back(
    settings: StackSettings, runtime: NativeRuntime
) -> None:
    """A restart does not end it; asking for it makes no trace."""

    def put(plan: dict[str, float]) -> None:
        headers = authorization(settings)
        httpx.put(url, json=plan, headers=headers, trust_env=False).raise_for_status()

    def ended() -> int:
        return read_report(get(f"{STOREFRONT.url(settings)}/health/telemetry").content).ledger.ended

    url = f"{STOREFRONT.url(settings)}/faults"
    runtime.up()
    put({"error_rate": 0.2})
    runtime.restart("storefront", {})
    before = ended()
    found = of(examine(settings, runtime, "it is up"), "faults of storefront")
    assert (found.severity, ended()) == (Severity.WARNING, before)
    assert "error_rate 0.2" in found.what
    assert found.remedy.startswith(f"curl -X PUT {url} -d '{{}}'")
    put({})
    assert not [each for each in examine(settings, runtime, "it is up") if "faults" in each.subject]


@pytest.mark.parametrize("answer", ["", "null", "[]", "{}", '{"data": []}', '{"data": {}}'])
def test_answers_that_nobody_expects_are_findings_too(answer: str, settings: StackSettings) -> None:
    """Strangers on the ports of the services and of Prometheus cause no traceback."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    runtime: Any = SimpleNamespace(kind="native", missing=(), is_up=lambda: True, status=list)
    with ExitStack() as servers:
        for port in (settings.storefront_port, settings.inventory_port, settings.prometheus_port):
            server = servers.enter_context(ThreadingHTTPServer(("127.0.0.1", port), Stranger))
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            servers.callback(server.shutdown)
        findings = examine(settings, runtime, "it is up")
    assert [found.severity for found in findings if found.subject == "stack"] == [Severity.ERROR] * 2
    for service in ("storefront", "inventory"):
        found = of(findings, f"telemetry of {service}")
        assert (found.severity, "not a health report" in found.what) == (Severity.ERROR, True)


def test_spans_for_another_endpoint_are_a_warning() -> None:
    """The spool of a service keeps them, and nobody sends them: the runbook has the command."""
    report = TelemetryHealth(status="healthy", spool=SpoolHealth(enabled=True, stranded_spans=120))

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(report.model_dump_json().encode())

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        (found,) = _telemetry("storefront", server.server_port)
        server.shutdown()
    assert found.severity is Severity.WARNING
    assert "120 spans in its spool are for another endpoint or other headers" in found.what
    file, _, section = found.remedy.partition("#")
    assert section == "the-spool-by-hand"
    assert "\n### The spool by hand\n" in (ROOT / file).read_text()


def test_remedies_stand_under_errors() -> None:
    """`make doctor` prints them so, and does not take an error's brackets for markup."""
    console = Console(width=40, record=True, file=io.StringIO())
    print_findings(
        console,
        [
            Finding("jaeger", Severity.OK, "up"),
            Finding("collector", Severity.ERROR, "stopped [errno 111]", "make start PART=collector"),
        ],
    )
    assert console.export_text().splitlines() == [
        "ok       jaeger: up",
        "error    collector: stopped [errno 111]",
        "         -> make start PART=collector",
    ]


@pytest.mark.timeout(3600)
def test_running_stack_has_no_errors_and_says_its_versions(stack: Stack) -> None:
    """The programs themselves report their versions."""
    findings = examine(stack.settings, stack.runtime, "it is up")
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    assert not errors
    assert f"version {stack.settings.collector_version}" in of(findings, "collector").what
    assert f"version {stack.settings.prometheus_version}" in of(findings, "prometheus").what
    for name in ("jaeger", "storefront", "inventory"):
        assert re.search(r"version \d+\.\d+\.\d+", of(findings, name).what)
    assert of(findings, "scrapes").severity is Severity.OK


@pytest.mark.timeout(3600)
def test_breaker_that_is_open_is_reported_with_the_reason(stack: Stack) -> None:
    """The remedy is the runbook."""
    stack.runtime.kill("collector")
    try:

        def open_breaker() -> bool:
            httpx.get(f"{stack.storefront}/v1/products", trust_env=False)
            return stack.health()["circuit_breaker"]["state"] == "open"

        stack.wait("an open breaker", open_breaker, seconds=30)
        findings = examine(stack.settings, stack.runtime, "it is up")
    finally:
        stack.runtime.start("collector")
    found = of(findings, "telemetry of storefront")
    assert found.severity is Severity.WARNING
    assert "the last attempt failed" in found.what
    assert found.remedy == "docs/operations.md#telemetrybreakeropen"
    assert of(findings, "collector").severity is Severity.ERROR
    stack.wait(
        "a closed breaker",
        lambda: stack.health()["circuit_breaker"]["state"] == "closed",
        seconds=90,
    )
