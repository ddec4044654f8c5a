"""Release archives, from a server with the publishers' layout that gives them well, badly or not at all."""

import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.free_ports import free_port as next_free_port

from stack.errors import StackError
from stack.native import releases
from stack.native.cache import cache_folder
from stack.native.products import products_of
from stack.native.programs import Programs, ensure_programs
from stack.settings import ROOT, load_settings

PLATFORM = "linux", "amd64"
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
    """An archive of files that hold their own names; the content is long, and can hardly be compressed."""
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
    """Gives archives by their path; the tests make it misbehave."""

    def __init__(self) -> None:
        self.files = {path: archive(*contents) for path, contents in CONTENTS.items()}
        self.cuts = 0
        """How many answers more are cut off in their middle."""
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
        """As GitHub does: a redirect to where the file lies, then the file."""
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
        """Writes the checksums of what it gives at this moment."""
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


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher of everything, an empty cache, and no Go: what cannot be downloaded cannot be had."""
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


def ensured(**settings: Any) -> tuple[Programs, str]:
    """The programs, and what was told."""
    told = io.StringIO()
    return ensure_programs(load_settings(**settings), Console(file=told, width=300)), told.getvalue()


def refused(**settings: Any) -> str:
    """Why they cannot be had, and what was told."""
    told = io.StringIO()
    with pytest.raises(StackError) as caught:
        ensure_programs(load_settings(**settings), Console(file=told, width=300))
    return told.getvalue() + str(caught.value)


def left_over() -> list[str]:
    """What lies in the cache and is no program's entry."""
    return [
        path.name for path in cache_folder().iterdir() if path.name.startswith(".") or path.suffix == ".gz"
    ]


@pytest.mark.parametrize("has_filter", [True, False], ids=["filter", "no filter"])
def test_complete_programs_come_from_the_archives_once(
    has_filter: bool, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pages and Grafana; the second time nobody is asked."""
    if not has_filter:  # as in Python 3.11.2, Debian 12's
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    programs, told = ensured()
    assert set(programs.paths) == {
        *("otelcol-contrib", "jaeger", "prometheus", "promtool", "toxiproxy-server", "grafana")
    }
    for name, path in programs.paths.items():
        assert path.read_bytes().split(b"\n")[0].decode().endswith(name)
        assert os.access(path, os.X_OK)
    assert programs.with_pages == {"jaeger", "prometheus"}
    assert programs.missing == ()
    assert programs.grafana_home == programs.paths["grafana"].parents[1]
    assert (programs.grafana_home / "public" / "a.js").exists()
    mebibytes = sum(len(content) for content in publisher.files.values()) / 2**20
    assert (
        "to download, once: collector 0.159.0, jaeger 2.20.0, prometheus 3.14.0, toxiproxy 2.12.0, "
        "grafana 13.2.3; "
        f"{mebibytes:.0f} MiB in all" in told
    )
    assert left_over() == []
    asked = len(publisher.asked)
    assert ensured() == (programs, "")
    assert len(publisher.asked) == asked


def test_wrong_checksum_is_not_taken(publisher: Publisher) -> None:
    """Neither run nor kept; both sums and the address are told, and it is not downloaded at each try."""
    right, wrong = publisher.files[JAEGER], archive(*CONTENTS[JAEGER], "something else")
    publisher.files[JAEGER] = wrong
    said = refused()
    assert f"{publisher.url}{JAEGER} gives is not what was recorded" in said
    assert hashlib.sha256(wrong).hexdigest() in said
    assert [path.suffix for path in cache_folder().glob("jaeger*")] == [".refused"]
    assert left_over() == []
    asked = sum(path == JAEGER for path, _ in publisher.asked)
    assert hashlib.sha256(wrong).hexdigest() in refused()
    assert sum(path == JAEGER for path, _ in publisher.asked) == asked
    publisher.files[JAEGER] = right
    (refusal,) = cache_folder().glob("*.refused")
    refusal.unlink()
    assert ensured()[0].paths["jaeger"].exists()


def test_cut_off_download_goes_on_where_it_was(publisher: Publisher) -> None:
    """What is there is not asked for again."""
    publisher.cuts = 1 + 2  # the first answer is only asked for its length
    assert ensured()[0].paths["jaeger"].exists()
    ranges = [range_ for path, range_ in publisher.asked if path == JAEGER and range_]
    assert len(ranges) >= 2
    assert all(re.fullmatch(r"bytes=[1-9]\d*-", each) for each in ranges)


def test_server_without_ranges_gives_it_from_the_start(publisher: Publisher) -> None:
    """No half is put before the whole."""
    publisher.cuts, publisher.forgets_ranges = 1 + 2, True
    assert ensured()[0].paths["jaeger"].exists()


def test_download_that_is_always_cut_off_ends(publisher: Publisher) -> None:
    """After three tries, and nothing half stays."""
    publisher.cuts = 1_000
    assert re.search(r"jaeger 2\.20\.0.*cannot be had whole", refused())
    assert left_over() == []
    assert not list(cache_folder().glob("jaeger*"))


def test_archive_that_is_not_there_is_told_before_anything_is_downloaded(publisher: Publisher) -> None:
    """404, with the address."""
    del publisher.files[JAEGER]
    said = refused()
    assert re.search(rf"jaeger 2\.20\.0 cannot be had: .*{re.escape(JAEGER)} answers 404 Not Found", said)
    assert not [path for path, _ in publisher.asked if path == COLLECTOR][2:], "nothing was downloaded"


def test_stack_goes_on_without_a_grafana_that_cannot_be_had(publisher: Publisher) -> None:
    """It alone, and what is missing is told with the reason."""
    del publisher.files[GRAFANA]
    programs, _ = ensured()
    assert not programs.have_grafana
    (missing,) = programs.missing
    assert missing.name == "grafana"
    assert "404" in missing.why


def test_without_network_each_host_is_asked_once(publisher: Publisher) -> None:
    """And the reason names it; what was downloaded before is used."""
    programs, _ = ensured()
    publisher.close()
    assert ensured()[0] == programs
    (cache_folder() / programs.paths["jaeger"].parent.name / "jaeger").unlink()
    assert re.search(r"127\.0\.0\.1:\d+ cannot be reached", refused())
    for url in ("http://nowhere.invalid", "http://[::", "nowhere", f"http://{'long' * 20}.invalid"):
        said = refused(github_url=url)
        assert "cannot be reached" in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "socks://127.0.0.1:9"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_shell_that_cannot_download_takes_the_next_way(
    variable: str, value: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a client can be made with such a proxy, or such certificates; the reason is told."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv(variable, value)
    if variable == "SSL_CERT_FILE":
        monkeypatch.setenv("GITHUB_URL", publisher.url.replace("http:", "https:"))
    assert "cannot be reached" in refused()


def test_cache_that_cannot_be_written_is_named(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that moves it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert "set XDG_CACHE_HOME" in refused()
    assert publisher.asked == []


def test_full_disk_is_a_reason_for_the_next_way(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as such; nothing half stays, and the next try downloads."""

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(releases, "_fetch_the_rest", write)
        assert "No space left on device" in refused()
    assert left_over() == []
    assert ensured()[0].have_grafana


@pytest.mark.parametrize("has_filter", [True, False], ids=["filter", "no filter"])
@pytest.mark.parametrize("kind", ["outside", "absolute", "link"])
def test_archive_cannot_write_outside_its_folder(
    kind: str, has_filter: bool, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a whole tree, whose checksum was recorded for all that, nor where single programs are taken."""
    if not has_filter:  # as in Python 3.11.2, Debian 12's
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    victim = tmp_path / "victim"
    evil = tarfile.TarInfo(
        {"outside": "../../../victim", "absolute": str(victim), "link": "grafana-13.2.3/l"}[kind]
    )
    if kind == "link":
        evil.type, evil.linkname = tarfile.SYMTYPE, str(tmp_path)
    for path in (GRAFANA, JAEGER):
        publisher.files[path] = archive(*CONTENTS[path], extra=evil)
    publisher.record(releases.RECORDS)
    programs, told = ensured()
    assert programs.paths["jaeger"].exists()
    assert not victim.exists()
    assert not [path for path in cache_folder().rglob("*") if path.is_symlink()]
    if kind != "absolute" or not has_filter:  # the filter makes a relative path of it
        assert not programs.have_grafana
        assert "cannot be unpacked" in told


def test_program_that_is_a_link_is_not_taken(publisher: Publisher) -> None:
    """A link in the place of a program could name any file of the machine."""
    link = tarfile.TarInfo("jaeger-2.20.0-linux-amd64/jaeger")
    link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
    publisher.files[JAEGER] = archive("README.md", extra=link)
    publisher.record(releases.RECORDS)
    assert "holds no jaeger-2.20.0-linux-amd64/jaeger" in refused()


def test_archive_that_is_not_recorded_is_not_asked_for(publisher: Publisher) -> None:
    """Another version than the recorded one; the machine is named too."""
    said = refused(jaeger_version="2.99.0")
    assert "jaeger 2.99.0 cannot be had: records names no archive of it for linux-amd64" in said
    assert not [path for path, _ in publisher.asked if "2.99.0" in path]


def test_release_is_preferred_to_a_build_and_a_build_stands_in(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next way is taken, for that program alone, and it is said how long it takes."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = env ]; then echo go1.26.8; fi\n'
        '[ "$1" = build ] || exit 0\n'
        'for word; do [ "$last" = -o ] && echo built >"$word/jaeger"; last=$word; done\n'
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PROGRAMS_FROM", "release,build")
    jaeger = publisher.files.pop(JAEGER)
    programs, told = ensured()
    assert "to build with Go, once: jaeger 1.76.0; about 4 minutes" in told
    assert re.search(r"no download of jaeger 2\.20\.0: .* answers 404", told)
    assert programs.paths["jaeger"].read_text() == "built\n"
    assert programs.with_pages == {"prometheus"}
    (missing,) = programs.missing
    assert missing.name == "Jaeger's web pages"
    publisher.files[JAEGER] = jaeger
    assert ensured()[0] == programs, "what is in the cache comes before a download"
    monkeypatch.setenv("PROGRAMS_FROM", "release")
    assert ensured()[0].with_pages == {"jaeger", "prometheus"}
    monkeypatch.setenv("PROGRAMS_FROM", "release,build")
    assert ensured()[0].with_pages == {"jaeger", "prometheus"}, "of two in the cache, the one with pages"


VERSIONS = {
    "otelcol-contrib": "otelcol-contrib version 0.159.0",
    "jaeger": '{"gitCommit":"1234","gitVersion":"v2.20.0","buildDate":"2026-01-01T00:00:00Z"}',
    "prometheus": "prometheus, version 3.14.2 (branch: HEAD, revision: 1234)\n  build user: root",
    "promtool": "promtool, version 3.14.0 (branch: HEAD, revision: 1234)",
    "toxiproxy-server": "toxiproxy-server version 2.12.0",
    "grafana": "grafana version 13.2.3",
}


def install(folder: Path, versions: dict[str, str]) -> None:
    """Puts programs there that tell these versions."""
    folder.mkdir(exist_ok=True)
    for name, told in versions.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{told}'\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def path(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH, with a program of the right version of each name."""
    folder = tmp_path / "installed"
    install(folder, VERSIONS)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PROGRAMS_FROM", "path,release,build")
    return folder


def test_programs_on_path_come_first(path: Path, publisher: Publisher) -> None:
    """Of the same minor version, a newer patch too: nothing is downloaded, nothing told."""
    programs, told = ensured()
    assert programs.paths == {name: path / name for name in VERSIONS}
    assert programs.with_pages == {"jaeger", "prometheus"}
    assert (told, publisher.asked) == ("", [])


@pytest.mark.parametrize(
    ("name", "told", "why"),
    [
        ("prometheus", "prometheus, version 2.42.0+ds (branch: debian/sid)", "/prometheus is 2.42.0"),
        ("promtool", "promtool, version 3.15.0 (branch: HEAD)", "/promtool is 3.15.0"),
        ("prometheus", "prometheus, version 3.14.0-rc.0 (branch: HEAD)", "/prometheus is 3.14.0rc0"),
        ("prometheus", "welcome", "/prometheus does not tell its version"),
    ],
)
def test_another_version_on_path_is_not_used_and_that_is_told(
    name: str, told: str, why: str, path: Path
) -> None:
    """Our configuration was not written for it."""
    install(path, {name: told})
    programs, said = ensured()
    assert programs.paths["prometheus"].is_relative_to(cache_folder())
    assert programs.paths["promtool"].is_relative_to(cache_folder())
    assert programs.paths["jaeger"] == path / "jaeger"
    assert "prometheus 3.14.0 is wanted, and " in said
    assert why in said


def test_checksum_command_records_what_it_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    """A line once more takes the old one's place; what cannot be had changes nothing."""
    command = (
        "import sys\nfrom pathlib import Path\nfrom stack import cli as stack\n"
        "stack.RECORDS = Path(sys.argv.pop(1))\nstack.main()"
    )
    file = tmp_path / "own records"
    address = publisher.url + JAEGER
    file.write_text(f"# kept\n{'0' * 64}  {address}\n{'1' * 64}  https://github.com/other\n")

    def call(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", command, str(file), "checksum", url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    done = call(address)
    assert done.returncode == 0, done.stdout + done.stderr
    digest = hashlib.sha256(publisher.files[JAEGER]).hexdigest()
    recorded = f"# kept\n{'1' * 64}  https://github.com/other\n{digest}  {address}\n"
    assert file.read_text() == recorded
    done = call(publisher.url + "/nothing")
    assert done.returncode == 1
    assert "answers 404" in done.stdout
    assert file.read_text() == recorded


def test_every_version_of_the_env_file_is_recorded_for_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is changed in `.env` alone would be built, and Grafana be lost, unseen."""
    monkeypatch.setattr(releases.platform, "system", lambda: "Linux")
    monkeypatch.setattr(releases.platform, "machine", lambda: "x86_64")
    for product in products_of(load_settings()):
        assert re.fullmatch(r"[0-9a-f]{64}", releases.archive_of(product.release).sha256)
