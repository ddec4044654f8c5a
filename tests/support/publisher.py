"""A server with the publishers' layout, which serves release archives correctly, badly or not at all."""

import hashlib
import io
import re
import tarfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.free_ports import free_port as next_free_port

from stack.errors import StackError
from stack.native.cache import cache_folder
from stack.native.programs import Programs, ensure_programs
from stack.settings import load_settings

JAEGER = "/jaegertracing/jaeger/releases/download/v2.20.0/jaeger-2.20.0-linux-amd64.tar.gz"
COLLECTOR = (
    "/open-telemetry/opentelemetry-collector-releases/releases/download/v0.159.0/"
    "otelcol-contrib_0.159.0_linux_amd64.tar.gz"
)
PROMETHEUS = "/prometheus/prometheus/releases/download/v3.14.0/prometheus-3.14.0.linux-amd64.tar.gz"
TOXIPROXY = "/Shopify/toxiproxy/releases/download/v2.12.0/toxiproxy_2.12.0_linux_amd64.tar.gz"
GRAFANA = "/grafana/release/13.2.3/grafana_13.2.3_36482603486_linux_amd64.tar.gz"
HOSTS = {GRAFANA: "https://dl.grafana.com"}
CONTENTS: dict[str, tuple[str, ...]] = {
    COLLECTOR: ("LICENSE", "README.md", "otelcol-contrib"),
    JAEGER: ("jaeger-2.20.0-linux-amd64/jaeger", "jaeger-2.20.0-linux-amd64/example-hotrod"),
    PROMETHEUS: ("prometheus-3.14.0.linux-amd64/prometheus", "prometheus-3.14.0.linux-amd64/promtool"),
    TOXIPROXY: ("./toxiproxy-cli", "./toxiproxy-server"),
    GRAFANA: ("grafana-13.2.3/bin/grafana", "grafana-13.2.3/conf/defaults.ini", "grafana-13.2.3/public/a.js"),
}


def archive(*paths: str, extra: Any = None) -> bytes:
    """Makes an archive of files that begin with their own names; their content is long and incompressible."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in paths:
            content = path.encode() + b"\n" + hashlib.shake_128(path.encode()).digest(200_000)
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if extra is not None:
            tar.addfile(extra)
    return packed.getvalue()


class Publisher:
    """A server of archives by their path, which tests can make misbehave."""

    def __init__(self) -> None:
        self.files = {path: archive(*contents) for path, contents in CONTENTS.items()}
        self.cuts = 0
        """How many more responses are cut off in the middle."""
        self.forgets_ranges = False
        self.asked: list[tuple[str, str]] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", next_free_port()), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Responds as GitHub does: with a redirect to the file's location, then with the file."""
        kept = request.path.removeprefix("/assets")
        self.asked.append((kept, request.headers.get("Range", "")))
        if kept not in self.files:
            request.send_error(404)
            return
        if kept == request.path:
            request.send_response(302)
            request.send_header("Location", "/assets" + kept)
            request.end_headers()
            return
        content, begin = self.files[kept], 0
        ranged = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if ranged and not self.forgets_ranges:
            begin = int(ranged[1])
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        end = len(content)
        if self.cuts and kept == JAEGER:
            self.cuts -= 1
            end = begin + (len(content) - begin) // 2
        with suppress(ConnectionError):  # only the length was wanted
            request.wfile.write(content[begin:end])

    def record(self, file: Path) -> None:
        """Writes the checksums of the present archives."""
        lines = [
            f"{hashlib.sha256(content).hexdigest()}  {HOSTS.get(path, 'https://github.com')}{path}"
            for path, content in self.files.items()
        ]
        file.write_text("\n".join(["# a comment", "", *lines]))

    def close(self) -> None:
        """Refuses connections from now on."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def ensured(**settings: Any) -> tuple[Programs, str]:
    """Ensures the programs; returns them and the console's output."""
    told = io.StringIO()
    return ensure_programs(load_settings(**settings), Console(file=told, width=300)), told.getvalue()


def refused(**settings: Any) -> str:
    """Expects that the programs cannot be had; returns the console's output and the reason."""
    told = io.StringIO()
    with pytest.raises(StackError) as caught:
        ensure_programs(load_settings(**settings), Console(file=told, width=300))
    return told.getvalue() + str(caught.value)


def left_over() -> list[str]:
    """Returns the names of files in the cache that are not entries of programs."""
    return [
        path.name for path in cache_folder().iterdir() if path.name.startswith(".") or path.suffix == ".gz"
    ]
