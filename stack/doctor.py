"""Finds what is up, what is not, why, and what to do: for `make doctor` and for the console's page.

The checks change nothing. Each is a separate function that yields findings; its failure becomes a finding.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import entry_points
from textwrap import shorten

import psutil

from service.settings import DEMO_API_KEY
from stack.backends.prometheus import Prometheus
from stack.console_page import ConsolePage
from stack.errors import StackError
from stack.health import NotYetError, get
from stack.port_check import check_ports
from stack.runtime import PartState, PartStatus, Runtime
from stack.service_variables import API_KEY, api_key
from stack.services import SERVICES, Service
from stack.settings import HOST, StackSettings
from telemetry.health.report import read_report

_DISTRO = "OTEL_PYTHON_DISTRO"
_LOG_LINES, _LOG_COLUMNS = 2, 160
_LITTLE_DISK_BYTES = 2 * 2**30
_LITTLE_MEMORY_BYTES = 2**30
_MUCH_SPOOLED = 0.5


class Severity(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    """A part's name, or another topic."""
    severity: Severity
    what: str
    """The observation, in a sentence."""
    remedy: str = ""
    """What to do about it."""


def examine(
    settings: StackSettings, runtime: Runtime, reason: str, page: ConsolePage | None = None
) -> list[Finding]:
    """Returns all findings, in the order in which a person would look.

    Args:
        settings: the stack's settings.
        runtime: the runtime that it runs in, or would run in.
        reason: the reason for the choice of that runtime.
        page: the console next to it; None to skip it, as when the console itself asks.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _machine(settings),
        _distributions,
        lambda: _runtime(runtime, reason),
    ]
    if runtime.is_up():
        checks += [
            lambda: _parts(settings, runtime),
            lambda: _console(page),
            *(partial(_telemetry, service.name, service.port(settings)) for service in SERVICES),
            *(partial(_faults, service, settings) for service in SERVICES),
            lambda: _targets(settings),
            lambda: _alerts(settings),
        ]
    else:
        checks.append(lambda: _ports(runtime, page))
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except (NotYetError, StackError) as error:
            findings.append(Finding("stack", Severity.ERROR, str(error)))
        except (KeyError, TypeError, ValueError) as error:
            what = f"an answer cannot be read ({error!r}): is something else on a part's port?"
            findings.append(Finding("stack", Severity.ERROR, what, "make status"))
    return findings


def _machine(settings: StackSettings) -> Iterator[Finding]:
    folder = settings.stack_run_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    disk, memory = shutil.disk_usage(folder).free, psutil.virtual_memory().available
    what = f"{disk / 2**30:.0f} GiB of disk and {memory / 2**30:.1f} GiB of memory are free"
    if disk < _LITTLE_DISK_BYTES:
        yield Finding(
            "machine", Severity.WARNING, what, "free some disk: the spool leaves a tenth of it alone"
        )
    elif memory < _LITTLE_MEMORY_BYTES:
        yield Finding("machine", Severity.WARNING, what, "end other programs: the stack needs about 0.5 GiB")
    else:
        yield Finding("machine", Severity.OK, what)


def _distributions() -> Iterator[Finding]:
    names = sorted({each.name for each in entry_points(group="opentelemetry_distro")})
    if len(names) > 1 and not os.environ.get(_DISTRO):
        yield Finding(
            "distributions",
            Severity.WARNING,
            f"several are installed ({', '.join(names)}) and {_DISTRO} is not set: without the launcher "
            "opentelemetry-instrument, which takes ours, the first one found configures a process",
            f"{_DISTRO}=telemetry for this library's; for another one, OTEL_PYTHON_CONFIGURATOR as well",
        )


def _runtime(runtime: Runtime, reason: str) -> Iterator[Finding]:
    if not runtime.is_up():
        yield Finding("runtime", Severity.ERROR, f"the stack is down ({runtime.kind}: {reason})", "make up")
        return
    yield Finding("runtime", Severity.OK, f"{runtime.kind} ({reason})")
    for part in runtime.missing:
        yield Finding(part.name, Severity.WARNING, f"missing: {part.why}")


def _ports(runtime: Runtime, page: ConsolePage | None) -> Iterator[Finding]:
    needed = [*runtime.endpoints.values(), *([page.part] if page else ())]
    try:
        check_ports(needed, ours=())
    except StackError as error:
        for line in str(error).splitlines()[:-1]:
            what, _, remedy = line.partition(": ")
            yield Finding("ports", Severity.ERROR, what, remedy)
    else:
        yield Finding("ports", Severity.OK, "every port is free")


def _parts(settings: StackSettings, runtime: Runtime) -> Iterator[Finding]:
    is_native = runtime.kind == "native"
    # Two of them do not know their version when built from modules: it is then taken from the settings.
    versions: dict[str, tuple[Callable[[], str], str]] = {
        **{
            service.name: (partial(_version_of_service, service.port(settings)), "unknown")
            for service in SERVICES
        },
        "collector": (
            lambda: _version_of_metrics(settings.collector_metrics_port),
            settings.collector_version,
        ),
        "jaeger": (
            lambda: _version_of_metrics(settings.jaeger_metrics_port),
            f"{settings.jaeger_native_version} of its Go module" if is_native else settings.jaeger_version,
        ),
        "prometheus": (
            Prometheus(settings.prometheus_port).version,
            settings.prometheus_version,
        ),
    }
    for status in runtime.status():
        name = status.part.name
        if status.state is PartState.UP:
            what = f"up, version {_version(*versions[name])}" if name in versions else "up"
            yield Finding(name, Severity.OK, f"{what}: {status.part.address}")
        else:
            yield _sick(runtime, status)


def _console(page: ConsolePage | None) -> Iterator[Finding]:
    if page is None:
        return
    status = page.status()
    if status.state is PartState.UP:
        yield Finding(page.part.name, Severity.OK, f"up: {page.part.address}")
    else:
        what = f"{status.state} ({status.detail})" if status.detail else f"{status.state}"
        remedy = f"make logs PART={page.part.name}; then make down and make up"
        yield Finding(page.part.name, Severity.ERROR, what, remedy)


def _sick(runtime: Runtime, status: PartStatus) -> Finding:
    name = status.part.name
    remedy = {
        PartState.STOPPED: f"make start PART={name}",
        PartState.PAUSED: f"make resume PART={name}",
        PartState.UNHEALTHY: f"make logs PART={name}; then make kill PART={name} and make start PART={name}",
        PartState.UP: "",
    }[status.state]
    what = f"{status.state} ({status.detail})" if status.detail else f"{status.state}"
    if status.state is not PartState.PAUSED:
        try:
            log = runtime.logs(name, lines=_LOG_LINES, follow=False)
            lines = [shorten(line, _LOG_COLUMNS, placeholder=" …") for line in log if line.strip()]
        except StackError:
            lines = []
        if lines:
            what += f"; its last lines: {' | '.join(lines)}"
    return Finding(name, Severity.ERROR, what, remedy)


def _telemetry(service: str, port: int) -> Iterator[Finding]:
    subject = f"telemetry of {service}"
    try:
        health = read_report(get(f"http://{HOST}:{port}/health/telemetry").content)
    except (NotYetError, ValueError) as error:
        yield Finding(
            subject, Severity.ERROR, f"it returns no health report: {error}", f"make logs PART={service}"
        )
        return
    breaker, ledger, spool = health.circuit_breaker, health.ledger, health.spool
    lost = sum(ledger.lost.values())
    what = (
        f"{health.status}, breaker {breaker.state}, {ledger.delivered} spans delivered, "
        f"{ledger.pending} waiting, {lost} lost"
    )
    if breaker.state != "closed":
        last_error = health.exporter.last_error
        why = f"; the last attempt failed: {last_error}" if last_error else ""
        yield Finding(subject, Severity.WARNING, what + why, "docs/operations.md#telemetrybreakeropen")
    elif lost:
        reasons = ", ".join(f"{reason} {count}" for reason, count in ledger.lost.items() if count)
        yield Finding(
            subject,
            Severity.WARNING,
            f"{what} ({reasons})",
            "docs/operations.md#telemetryspansdropped",
        )
    elif health.status != "healthy":
        yield Finding(subject, Severity.WARNING, what, f"http://{HOST}:{port}/health/telemetry says why")
    elif spool.enabled and spool.bytes > _MUCH_SPOOLED * spool.limit_bytes:
        yield Finding(
            subject,
            Severity.WARNING,
            f"{what}; its spool is half full",
            "docs/operations.md#telemetryspoolfilling",
        )
    elif spool.stranded_spans:
        yield Finding(
            subject,
            Severity.WARNING,
            f"{what}; {spool.stranded_spans} spans in its spool are for another endpoint or other headers, "
            "to which no process sends any more",
            "docs/operations.md#the-spool-by-hand",
        )
    else:
        yield Finding(subject, Severity.OK, what)


def _faults(service: Service, settings: StackSettings) -> Iterator[Finding]:
    """A plan in force is easily forgotten: it outlives restarts."""
    url = f"{service.url(settings)}/faults"
    try:
        plan = get(url).json()
    except (NotYetError, ValueError):  # it has none, as outside development, or is found sick elsewhere
        return
    if isinstance(plan, dict) and any(plan.values()):
        shown = ", ".join(f"{name} {value}" for name, value in plan.items())
        key = DEMO_API_KEY if api_key(settings) == DEMO_API_KEY else f"${API_KEY}"
        yield Finding(
            f"faults of {service.name}",
            Severity.WARNING,
            f"a plan of faults is in force until it is taken back, over restarts too: {shown}",
            f"curl -X PUT {url} -d '{{}}' -H 'content-type: application/json'"
            f' -H "authorization: Bearer {key}"',
        )


def _targets(settings: StackSettings) -> Iterator[Finding]:
    down = [
        f"{target['labels']['job']} ({target['lastError']})"
        for target in Prometheus(settings.prometheus_port).targets()
        if target["health"] == "down"
    ]
    if down:
        yield Finding(
            "scrapes", Severity.WARNING, f"Prometheus cannot read {', '.join(down)}", "see that part"
        )
    else:
        yield Finding("scrapes", Severity.OK, "Prometheus reads every part")


def _alerts(settings: StackSettings) -> Iterator[Finding]:
    firing = [alert for alert in Prometheus(settings.prometheus_port).alerts() if alert["state"] == "firing"]
    summaries = ((alert["annotations"]["summary"], alert["annotations"]["runbook_url"]) for alert in firing)
    for summary, runbook in dict.fromkeys(summaries):  # a budget's fast and slow burn alerts share both
        yield Finding("alerts", Severity.WARNING, summary, runbook)
    if not firing:
        yield Finding("alerts", Severity.OK, "no alert fires")


def _version_of_metrics(port: int) -> str:
    found = re.search(r'service_version="v?([^"]+)"', get(f"http://{HOST}:{port}/metrics").text)
    return found[1] if found else ""


def _version_of_service(port: int) -> str:
    try:
        return str(get(f"http://{HOST}:{port}/health/telemetry").json()["service"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotYetError(f"port {port} does not say its version") from error


def _version(ask: Callable[[], str], otherwise: str) -> str:
    try:
        return ask() or otherwise
    except NotYetError:
        return otherwise
