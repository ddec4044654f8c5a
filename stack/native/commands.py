"""The commands that run the parts without containers, with the variables that the shared files read."""

import os
import sys
from pathlib import Path

from stack.digests import digests
from stack.native.programs import Programs
from stack.parts import SlowLink
from stack.service_variables import service_variables
from stack.services import INVENTORY, SERVICES, STOREFRONT, Service
from stack.settings import HOST, ROOT, StackSettings
from stack.supervision.command import Command
from stack.supervision.sockets import socket_folder

_TAIL_SAMPLING = "collector/tail_sampling.yaml"
"""Merged over the first configuration file."""
_LONGEST_WORKER_SOCKET = "00000000-999.sock"


def commands_of(settings: StackSettings, found: Programs, run_folder: Path) -> tuple[Command, ...]:
    """Returns the parts' commands, in the order in which they are started."""
    programs = found.paths
    data = run_folder / "data"
    samples_tails = settings.tail_sampling_percentage is not None
    return (
        Command(
            "jaeger",
            (str(programs["jaeger"]), "--config", str(ROOT / "jaeger/config.yaml")),
            {
                "JAEGER_OTLP_GRPC_ENDPOINT": f"{HOST}:{settings.jaeger_otlp_grpc_port}",
                "JAEGER_OTLP_HTTP_ENDPOINT": f"{HOST}:{settings.jaeger_otlp_http_port}",
                "JAEGER_HEALTH_ENDPOINT": f"{HOST}:{settings.jaeger_health_port}",
                "JAEGER_QUERY_ENDPOINT": f"{HOST}:{settings.jaeger_port}",
                "JAEGER_QUERY_GRPC_ENDPOINT": f"{HOST}:{settings.jaeger_grpc_port}",
                "JAEGER_METRICS_HOST": HOST,
                "JAEGER_METRICS_PORT": str(settings.jaeger_metrics_port),
                "PROMETHEUS_URL": f"http://{HOST}:{settings.prometheus_port}",
                "JAEGER_MAX_TRACES": str(settings.jaeger_max_traces),
            },
            digests("jaeger/config.yaml"),
        ),
        Command(
            "collector",
            (
                *(str(programs["otelcol-contrib"]), "--config", str(ROOT / "collector/config.yaml")),
                *(("--config", str(ROOT / _TAIL_SAMPLING)) if samples_tails else ()),
            ),
            {
                **_of_the_shell("COLLECTOR_MEMORY_LIMIT_MIB", "COLLECTOR_QUEUE_SPANS"),
                **_tail_variables(settings),
                "COLLECTOR_OTLP_GRPC_ENDPOINT": f"{HOST}:{settings.otlp_grpc_port}",
                "COLLECTOR_OTLP_HTTP_ENDPOINT": f"{HOST}:{settings.otlp_http_port}",
                "COLLECTOR_HEALTH_ENDPOINT": f"{HOST}:{settings.collector_health_port}",
                "COLLECTOR_METRICS_HOST": HOST,
                "COLLECTOR_METRICS_PORT": str(settings.collector_metrics_port),
                "COLLECTOR_QUEUE_DIR": str(data / "collector-queue"),
                "SPAN_METRICS_ENDPOINT": f"{HOST}:{settings.span_metrics_port}",
                "JAEGER_OTLP_HTTP_URL": f"http://{HOST}:{settings.jaeger_otlp_http_port}",
            },
            digests("collector/config.yaml", *((_TAIL_SAMPLING,) if samples_tails else ())),
        ),
        Command(
            "prometheus",
            (
                str(programs["prometheus"]),
                f"--config.file={prometheus_folder(run_folder) / 'prometheus.yml'}",
                f"--storage.tsdb.path={data / 'prometheus'}",
                f"--web.listen-address={HOST}:{settings.prometheus_port}",
                "--enable-feature=exemplar-storage",
                "--web.enable-otlp-receiver",
                "--web.cors.origin=none",  # see compose.yaml
            ),
            {},
            digests("prometheus/prometheus.yml", "prometheus/rules"),
        ),
        *((_grafana(settings, found, data / "grafana"),) if found.have_grafana else ()),
        _service(INVENTORY, settings, run_folder, workers=1),
        _service(STOREFRONT, settings, run_folder, workers=settings.web_concurrency),
        Command(
            "toxiproxy",
            (
                str(programs["toxiproxy-server"]),
                *("-host", HOST, "-port", str(settings.toxiproxy_port)),
            ),
            {},
        ),
    )


def slow_link(settings: StackSettings) -> SlowLink:
    """Returns the addresses of toxiproxy's link in the native runtime."""
    proxied = f"{HOST}:{settings.otlp_proxy_port}"
    return SlowLink(
        api_url=f"http://{HOST}:{settings.toxiproxy_port}",
        listen=proxied,
        upstream=f"{HOST}:{settings.otlp_grpc_port}",
        endpoint=f"http://{proxied}",
    )


def _tail_variables(settings: StackSettings) -> dict[str, str]:
    share = settings.tail_sampling_percentage
    return {} if share is None else {"TAIL_SAMPLING_PERCENTAGE": f"{share:g}"}


def _of_the_shell(*names: str) -> dict[str, str]:
    """Returns those of the variables that are set; the shared file has defaults for the others."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def prometheus_folder(run_folder: Path) -> Path:
    """Returns the folder with Prometheus's configuration file and, next to it, `targets/`."""
    return run_folder / "prometheus"


def scrape_targets(settings: StackSettings) -> list[dict[str, object]]:
    """Returns Prometheus's scrape targets in the format of its file-based service discovery."""
    ports = {
        **{service.name: service.port(settings) for service in SERVICES},
        "collector": settings.collector_metrics_port,
        "spans": settings.span_metrics_port,
        "jaeger": settings.jaeger_metrics_port,
    }
    return [{"targets": [f"{HOST}:{port}"], "labels": {"part": part}} for part, port in ports.items()]


def _grafana(settings: StackSettings, found: Programs, data: Path) -> Command:
    home = found.grafana_home
    return Command(
        "grafana",
        (
            *(str(found.paths["grafana"]), "server", "--homepath", str(home)),
            *("--config", str(ROOT / "grafana/grafana.ini")),
        ),
        {
            **_admin(os.environ.get("GRAFANA_ADMIN_PASSWORD", "")),
            "PROMETHEUS_URL": f"http://{HOST}:{settings.prometheus_port}",
            "JAEGER_URL": f"http://{HOST}:{settings.jaeger_port}",
            "JAEGER_PAGE_URL": f"http://{HOST}:{settings.jaeger_port}",
            "GRAFANA_DASHBOARDS_DIR": str(ROOT / "grafana/dashboards"),
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(ROOT / "grafana/dashboards/service.json"),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(settings.grafana_port),
            "GF_PATHS_DATA": str(data),
            "GF_PATHS_LOGS": str(data / "log"),
            "GF_PATHS_PLUGINS": str(data / "plugins"),
            "GF_PATHS_PROVISIONING": str(ROOT / "grafana/provisioning"),
        },
        digests("grafana/grafana.ini", "grafana/provisioning", "grafana/dashboards"),
    )


def _admin(password: str) -> dict[str, str]:
    """Returns the admin's variables, as in compose.yaml: there is an admin only if it is given a password."""
    if not password:
        return {}
    return {
        "GF_SECURITY_ADMIN_PASSWORD": password,
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "false",
        "GF_AUTH_DISABLE_LOGIN_FORM": "false",
    }


def _service(service: Service, settings: StackSettings, run_folder: Path, *, workers: int) -> Command:
    name, port = service.name, service.port(settings)
    return Command(
        name,
        (
            *(sys.executable, "-m", "uvicorn", f"service.{name}.app:app"),
            *("--host", HOST, "--port", str(port), "--no-access-log"),
            # As in the containers, whichever other loops and parsers are installed here.
            *("--loop", "asyncio", "--http", "h11"),
        ),
        {
            **service_variables(settings),
            "SERVICE_NAME": name,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{settings.otlp_grpc_port}",
            "INVENTORY_URL": INVENTORY.url(settings),
            "SHOP_DATABASE_DIR": str(run_folder / "data" / "shop"),
            "TELEMETRY_SPOOL_DIR": str(run_folder / "data" / "spool" / name),
            "WEB_CONCURRENCY": str(workers),
            "PROMETHEUS_MULTIPROC_DIR": str(
                socket_folder(run_folder, name, longest_file=_LONGEST_WORKER_SOCKET)
            ),
        },
        # Its code, the library's, and the installed dependencies.
        digests("service", "telemetry", "requirements/dev.txt"),
    )
