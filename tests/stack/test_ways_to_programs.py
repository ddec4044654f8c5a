"""The order of the ways to a program: PATH, the cache, a download, a build."""

import os
import re
from pathlib import Path

import pytest
from support.publisher import (
    JAEGER,
    Publisher,
    ensured,
)

from stack.native.cache import cache_folder


def test_release_is_preferred_to_a_build_and_a_build_stands_in(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next way is taken for that program alone, and its expected duration is printed."""
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
    programs, output = ensured()
    assert "to build with Go, once: jaeger 1.76.0; about 4 minutes" in output
    assert re.search(r"no download of jaeger 2\.20\.0: .* answers 404", output)
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
    """Installs programs that print these versions."""
    folder.mkdir(exist_ok=True)
    for name, output in versions.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{output}'\n")
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
    """The same minor version is used, even with a newer patch; nothing is downloaded or printed."""
    programs, output = ensured()
    assert programs.paths == {name: path / name for name in VERSIONS}
    assert programs.with_pages == {"jaeger", "prometheus"}
    assert (output, publisher.asked) == ("", [])


@pytest.mark.parametrize(
    ("name", "output", "why"),
    [
        ("prometheus", "prometheus, version 2.42.0+ds (branch: debian/sid)", "/prometheus is 2.42.0"),
        ("promtool", "promtool, version 3.15.0 (branch: HEAD)", "/promtool is 3.15.0"),
        ("prometheus", "prometheus, version 3.14.0-rc.0 (branch: HEAD)", "/prometheus is 3.14.0rc0"),
        ("prometheus", "welcome", "/prometheus does not report its version"),
    ],
)
def test_another_version_on_path_is_not_used_and_that_is_reported(
    name: str, output: str, why: str, path: Path
) -> None:
    """Our configuration was not written for it."""
    install(path, {name: output})
    programs, said = ensured()
    assert programs.paths["prometheus"].is_relative_to(cache_folder())
    assert programs.paths["promtool"].is_relative_to(cache_folder())
    assert programs.paths["jaeger"] == path / "jaeger"
    assert "prometheus 3.14.0 is wanted, and " in said
    assert why in said
