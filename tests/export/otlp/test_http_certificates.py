"""Certificates that are renewed on disk while the process runs."""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import make_certificate
from support.http_transport import send, server_context
from support.raw_http_server import RawHttpServer, answer

from telemetry.config import TelemetryConfig
from telemetry.export.otlp import tls as tls_module
from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.result import Disposition
from telemetry.export.otlp.tls import TlsFiles
from telemetry.export.otlp.transport import build_transport

Pair = tuple[Path, Path]
CLOSING = answer(Connection="close")


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Another certificate of localhost, from another authority."""
    return make_certificate(tmp_path_factory.mktemp("renewed"), "renewed", days=2)


@pytest.fixture
def closing_server(certificate: Pair) -> Iterator[RawHttpServer]:
    """A TLS server that ends the connection after each answer."""
    running = RawHttpServer(server_context(certificate))
    running.script = lambda peer: peer.sendall(CLOSING)
    yield running
    running.close()


@pytest.fixture
def files(tmp_path: Path, certificate: Pair) -> Pair:
    """The files that the settings name, with the first certificate and its key."""
    return Path(shutil.copy(certificate[0], tmp_path / "tls.crt")), Path(
        shutil.copy(certificate[1], tmp_path / "tls.key")
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns what was warned of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_authority_that_is_renewed_is_read_by_the_next_connection(
    files: Pair, closing_server: RawHttpServer, renewed: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """No restart is needed; until the file changes, the new certificate is a stranger's."""
    made = HttpTransport(
        f"https://localhost:{closing_server.port}/", tls=TlsFiles(authority=str(files[0])), headers={}
    )
    assert send(made).disposition is Disposition.DELIVERED
    closing_server.context = server_context(renewed)
    assert send(made).kind == "tls"
    shutil.copy(renewed[0], files[0])
    assert send(made).disposition is Disposition.DELIVERED
    assert warnings(caplog) == []


@pytest.mark.parametrize("way", ["written", "moved", "linked"])
def test_client_certificate_that_is_renewed_is_presented(
    way: str, files: Pair, closing_server: RawHttpServer, certificate: Pair, renewed: Pair, tmp_path: Path
) -> None:
    """However the files are replaced, as by an editor, by cert-manager's tools or by Kubernetes."""
    if way == "linked":
        for file, source in zip(files, certificate, strict=True):
            file.unlink()
            file.symlink_to(source)
    tls = TlsFiles(authority=str(certificate[0]), certificate=str(files[0]), key=str(files[1]))
    made = HttpTransport(f"https://localhost:{closing_server.port}/", tls=tls, headers={})
    closing_server.context = server_context(certificate, clients=certificate[0])
    assert send(made).disposition is Disposition.DELIVERED
    closing_server.context = server_context(certificate, clients=renewed[0])
    assert send(made).disposition is Disposition.RETRYABLE
    for file, source in zip(files, renewed, strict=True):
        if way == "written":
            shutil.copy(source, file)
        else:
            new = tmp_path / f"{file.name}.new"
            shutil.copy(source, new) if way == "moved" else new.symlink_to(source)
            new.replace(file)
    assert send(made).disposition is Disposition.DELIVERED


@pytest.mark.parametrize("fault", ["half", "empty", "gone", "unpaired"])
def test_files_that_cannot_be_used_leave_the_old_ones_in_use(
    fault: str,
    files: Pair,
    closing_server: RawHttpServer,
    certificate: Pair,
    renewed: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told once, however many connections are made; the finished files are read without more ado."""
    tls = TlsFiles(authority=str(certificate[0]), certificate=str(files[0]), key=str(files[1]))
    made = HttpTransport(f"https://localhost:{closing_server.port}/", tls=tls, headers={})
    closing_server.context = server_context(certificate, clients=certificate[0])
    assert send(made).disposition is Disposition.DELIVERED
    text = renewed[0].read_text()
    match fault:
        case "gone":
            files[0].unlink()
        case "unpaired":
            files[0].write_text(text)
        case _:
            files[0].write_text(text[: len(text) // 2] if fault == "half" else "")
    for _ in range(3):
        assert send(made).disposition is Disposition.DELIVERED
    files[0].write_text(text[: len(text) // 3])  # the writer goes on
    assert send(made).disposition is Disposition.DELIVERED
    (line,) = warnings(caplog)
    assert str(files[0]) in line
    closing_server.context = server_context(certificate, clients=renewed[0])
    for file, source in zip(files, renewed, strict=True):
        shutil.copy(source, file)
    assert send(made).disposition is Disposition.DELIVERED
    assert len(warnings(caplog)) == 1


def test_change_is_seen_though_size_and_time_are_the_same(files: Pair) -> None:
    """Tools that keep a file's times exist."""
    tls = TlsFiles(authority=str(files[0]))
    before, found = tls.context(), files[0].stat()
    files[0].write_bytes(files[0].read_bytes())
    os.utime(files[0], ns=(found.st_atime_ns, found.st_mtime_ns))
    assert files[0].stat().st_mtime_ns == found.st_mtime_ns
    assert tls.context() is not before


def test_files_are_not_read_again_for_each_connection(files: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at their times is enough."""
    tls = TlsFiles(authority=str(files[0]), certificate=str(files[0]), key=str(files[1]))
    monkeypatch.setattr(tls_module.ssl, "create_default_context", None)
    assert tls.context() is tls.context()


def test_first_reading_names_the_files(files: Pair) -> None:
    """Without any certificate there is nothing to go on with."""
    files[0].unlink()
    with pytest.raises(OSError, match=r"tls\.crt, .*tls\.key cannot be used"):
        TlsFiles(certificate=str(files[0]), key=str(files[1]))


def test_key_that_gets_a_passphrase_prompts_nobody(
    files: Pair, certificate: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenSSL would ask on the terminal, and the exporter would wait."""
    tls = TlsFiles(certificate=str(files[0]), key=str(files[1]))
    before = tls.context()
    lock = ("openssl", "pkey", "-aes256", "-passout", "pass:secret")
    subprocess.run((*lock, "-in", certificate[1], "-out", files[1]), check=True, capture_output=True)
    assert tls.context() is before
    assert len(warnings(caplog)) == 1


def test_configured_files_are_the_ones(files: Pair, closing_server: RawHttpServer, certificate: Pair) -> None:
    """The settings reach the transport."""
    closing_server.context = server_context(certificate, clients=certificate[0])
    file, key = map(str, files)
    made = build_transport(
        TelemetryConfig(
            protocol="http/protobuf",
            endpoint=f"https://localhost:{closing_server.port}",
            certificate=file,
            client_certificate=file,
            client_key=key,
        )
    )
    assert send(made).disposition is Disposition.DELIVERED  # type: ignore[arg-type]
    made.close()
