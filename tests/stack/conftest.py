"""Settings on free ports and stand-ins for the Go programs, for tests that need no Go."""

import stat
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from support.free_ports import free_ports
from support.publisher import Publisher

from stack.native import releases
from stack.native.programs import Programs
from stack.native.runtime import NativeRuntime
from stack.settings import StackSettings, load_settings

STAND_IN = """\
#!{python}
# Answers 200 at every address that the part it stands in for would listen on.
import os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Ok(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass

addresses = [value for name, value in os.environ.items() if name.endswith("_HEALTH_ENDPOINT")]
addresses += [word.split("=")[1] for word in sys.argv if word.startswith("--web.listen-address=")]
if "GF_SERVER_HTTP_PORT" in os.environ:
    addresses.append(os.environ["GF_SERVER_HTTP_ADDR"] + ":" + os.environ["GF_SERVER_HTTP_PORT"])
print("listening on", addresses, flush=True)
for address in addresses:
    host, port = address.split(":")
    server = ThreadingHTTPServer((host, int(port)), Ok)
    threading.Thread(target=server.serve_forever).start()
"""


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    """The stack's settings, with free ports and a run folder of the test's own."""
    return load_settings(stack_run_dir=tmp_path / "run", **free_ports())


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Path]:
    """Stand-ins for the Go programs; the services are the real ones."""
    folder = tmp_path / "programs"
    folder.mkdir()
    found = {}
    for name in ("otelcol-contrib", "jaeger", "prometheus", "promtool", "toxiproxy-server", "grafana"):
        found[name] = folder / name
        found[name].write_text(textwrap.dedent(STAND_IN.format(python=sys.executable)))
        found[name].chmod(found[name].stat().st_mode | stat.S_IXUSR)
    return found


@pytest.fixture
def runtime(
    settings: StackSettings, programs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[NativeRuntime]:
    """A native runtime on free ports, removed at the end."""
    # Nothing receives the services' spans here, and there is no need to wait for that.
    monkeypatch.setenv("TELEMETRY_SHUTDOWN_SECONDS", "0.2")
    made = NativeRuntime(settings, Console(quiet=True), lambda *_: Programs(programs))
    yield made
    made.clean()


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher of all archives, with an empty cache and downloads as the only way."""
    made = Publisher()
    made.record(tmp_path / "records")
    monkeypatch.setattr(releases, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(releases.platform, "system", lambda: "Linux")
    monkeypatch.setattr(releases.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(releases, "_SECONDS_BETWEEN_ATTEMPTS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROGRAMS_FROM", "release")
    monkeypatch.setenv("GITHUB_URL", made.url)
    monkeypatch.setenv("GRAFANA_DOWNLOADS_URL", made.url + "/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.close()
