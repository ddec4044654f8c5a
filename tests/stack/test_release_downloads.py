"""Downloads of release archives: whole, wrong, cut off, absent, or from a shell that cannot download."""

import errno
import hashlib
import os
import re
import tarfile

import pytest
from support.publisher import (
    COLLECTOR,
    CONTENTS,
    GRAFANA,
    JAEGER,
    Publisher,
    archive,
    ensured,
    left_over,
    refused,
)

from stack.native import releases
from stack.native.cache import cache_folder


@pytest.mark.parametrize("has_filter", [True, False], ids=["filter", "no filter"])
def test_complete_programs_come_from_the_archives_once(
    has_filter: bool, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They include pages and Grafana; the second time, nothing is requested."""
    if not has_filter:  # as in Python 3.11.2, Debian 12's
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    programs, output = ensured()
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
        f"{mebibytes:.0f} MiB in all" in output
    )
    assert left_over() == []
    asked = len(publisher.asked)
    assert ensured() == (programs, "")
    assert len(publisher.asked) == asked


def test_wrong_checksum_is_not_taken(publisher: Publisher) -> None:
    """It is neither run nor kept nor downloaded at each try; both checksums and the address are reported."""
    right, wrong = publisher.files[JAEGER], archive(*CONTENTS[JAEGER], "something else")
    publisher.files[JAEGER] = wrong
    said = refused()
    assert f"the archive from {publisher.url}{JAEGER} does not match the recorded checksum" in said
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
    """Bytes that are there are not requested again."""
    publisher.cuts = 1 + 2  # the first answer is only asked for its length
    assert ensured()[0].paths["jaeger"].exists()
    ranges = [range_ for path, range_ in publisher.asked if path == JAEGER and range_]
    assert len(ranges) >= 2
    assert all(re.fullmatch(r"bytes=[1-9]\d*-", each) for each in ranges)


def test_server_without_ranges_gives_it_from_the_start(publisher: Publisher) -> None:
    """The partial file is not put before the whole one."""
    publisher.cuts, publisher.forgets_ranges = 1 + 2, True
    assert ensured()[0].paths["jaeger"].exists()


def test_download_that_is_always_cut_off_ends(publisher: Publisher) -> None:
    """It ends after three tries, and no partial file stays."""
    publisher.cuts = 1_000
    assert re.search(r"jaeger 2\.20\.0.*cannot be downloaded completely", refused())
    assert left_over() == []
    assert not list(cache_folder().glob("jaeger*"))


def test_missing_archive_is_reported_before_anything_is_downloaded(publisher: Publisher) -> None:
    """The message has the 404 and the address."""
    del publisher.files[JAEGER]
    said = refused()
    assert re.search(rf"jaeger 2\.20\.0 is not available: .*{re.escape(JAEGER)} answers 404 Not Found", said)
    assert not [path for path, _ in publisher.asked if path == COLLECTOR][2:], "nothing was downloaded"


def test_stack_goes_on_without_a_grafana_that_cannot_be_had(publisher: Publisher) -> None:
    """Only Grafana is missing, and the reason is reported."""
    del publisher.files[GRAFANA]
    programs, _ = ensured()
    assert not programs.have_grafana
    (missing,) = programs.missing
    assert missing.name == "grafana"
    assert "404" in missing.why


def test_without_network_each_host_is_asked_once(publisher: Publisher) -> None:
    """The reason names the host, and earlier downloads are used."""
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
    """No client can be created with such a proxy or such certificates; the reason is reported."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv(variable, value)
    if variable == "SSL_CERT_FILE":
        monkeypatch.setenv("GITHUB_URL", publisher.url.replace("http:", "https:"))
    assert "cannot be reached" in refused()


def test_cache_that_cannot_be_written_is_named(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable that moves it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert "set XDG_CACHE_HOME" in refused()
    assert publisher.asked == []


def test_full_disk_is_a_reason_for_the_next_way(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported; no partial file stays, and the next try downloads."""

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(releases, "_fetch_the_rest", write)
        assert "No space left on device" in refused()
    assert left_over() == []
    assert ensured()[0].have_grafana
