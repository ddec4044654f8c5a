"""Certificates that are renewed on disk, with mTLS and without, while gRPC exports."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from support.certificates import make_certificate
from support.clock import Clock
from support.raw_grpc_server import RawGrpcServer

from telemetry.export.otlp.grpc import GrpcTransport
from telemetry.export.otlp.grpc_certificates import GrpcCertificates
from telemetry.export.otlp.result import Disposition

Pair = tuple[Path, Path]


class Rig:
    """A server with mTLS, a transport to it, and the transport's files.

    Args:
        folder: for the files.
        issued: the pair that server and client begin with.
    """

    def __init__(self, folder: Path, issued: Pair) -> None:
        self.authority, self.chain, self.key = (folder / f"{name}.pem" for name in ("ca", "client", "key"))
        self.install(issued)
        self.server = RawGrpcServer(credentials=demanding(issued))
        self.clock = Clock()
        self.certificates = GrpcCertificates(
            authority=str(self.authority), key=str(self.key), certificate=str(self.chain), clock=self.clock
        )
        self.transport = GrpcTransport(
            f"localhost:{self.server.port}", certificates=self.certificates, headers={}, clock=self.clock
        )

    def install(self, issued: Pair) -> None:
        """Replaces the client's files, each at once, as renewal does."""
        for source, target in ((issued[0], self.authority), (issued[0], self.chain), (issued[1], self.key)):
            fresh = target.with_suffix(".new")
            shutil.copy(source, fresh)
            fresh.replace(target)

    def restart_server(self, issued: Pair) -> None:
        """Lets the server present and demand another certificate."""
        self.server.stop()
        self.server.credentials = demanding(issued)
        self.server.start()

    def is_delivered(self) -> bool:
        """Exports once, when the files may be looked at again."""
        self.clock.pass_ms(1_001)
        return self.transport.send(b"x", 5.0).disposition is Disposition.DELIVERED


def demanding(issued: Pair) -> grpc.ServerCredentials:
    """Returns a server's credentials: its own certificate, which it demands of clients, too."""
    chain, key = (file.read_bytes() for file in issued)
    return grpc.ssl_server_credentials([(key, chain)], root_certificates=chain, require_client_auth=True)


@pytest.fixture
def issue(tmp_path: Path) -> Callable[[str], Pair]:
    """Issues a pair of certificate and key."""
    return lambda name: make_certificate(tmp_path, name, days=2)


@pytest.fixture
def rig(tmp_path: Path, issue: Callable[[str], Pair]) -> Iterator[Rig]:
    """The rig, with the pair `old`."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    made = Rig(folder, issue("old"))
    yield made
    made.transport.close()
    made.server.stop()


def test_renewed_files_are_used_without_a_restart(rig: Rig, issue: Callable[[str], Pair]) -> None:
    """CA, certificate and key alike; what was delivered before is not affected."""
    assert rig.is_delivered()
    renewed = issue("renewed")
    rig.restart_server(renewed)
    assert not rig.is_delivered()
    rig.install(renewed)
    assert rig.is_delivered()


def test_connection_is_kept_until_the_files_change(rig: Rig, issue: Callable[[str], Pair]) -> None:
    """Files that are looked at each second cost no connection; a renewal costs one, and no attempt."""
    assert all(rig.is_delivered() for _ in range(3))
    assert len(rig.server.peers) == 1
    shutil.copy(rig.authority, rig.authority.with_suffix(".new"))
    rig.authority.with_suffix(".new").replace(rig.authority)
    assert all(rig.is_delivered() for _ in range(3))
    assert len(rig.server.peers) == 2


def test_files_are_looked_at_once_a_second_at_most(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many exports there are."""
    looked: list[str] = []
    stat = os.stat

    def look(file: str) -> os.stat_result:
        looked.append(file)
        return stat(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", look)
        rig.clock.pass_ms(1_001)
        for _ in range(5):
            rig.certificates.refresh()
    assert len(looked) == 3


@pytest.mark.parametrize("name", ["authority", "chain", "key"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
def test_half_written_file_leaves_everything_as_it_was(
    name: str,
    content: bytes | None,
    rig: Rig,
    issue: Callable[[str], Pair],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told once, and when it is whole, it counts."""
    assert rig.is_delivered()
    file: Path = getattr(rig, name)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with caplog.at_level(logging.INFO, logger="telemetry"):
        assert all(rig.is_delivered() for _ in range(3))
    assert len(rig.server.peers) == 1
    (record,) = caplog.records
    assert "exports keep the former ones" in record.getMessage()
    renewed = issue("renewed")
    rig.restart_server(renewed)
    rig.install(renewed)
    assert rig.is_delivered()
    file.write_bytes(b"")
    assert rig.is_delivered()
    assert len(caplog.records) == 2


def test_pair_of_which_one_file_is_new_waits_for_the_other(rig: Rig, issue: Callable[[str], Pair]) -> None:
    """A certificate without its key would fail with each connection."""
    assert rig.is_delivered()
    renewed = issue("renewed")
    shutil.copy(renewed[0], rig.chain)
    assert rig.is_delivered()
    assert len(rig.server.peers) == 1
    shutil.copy(renewed[0], rig.authority)
    shutil.copy(renewed[1], rig.key)
    rig.restart_server(renewed)
    assert rig.is_delivered()


def test_files_that_change_while_they_are_read_are_read_again(
    rig: Rig, issue: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read may be of both: it is not used."""
    former, check, renewed = rig.certificates.credentials, rig.certificates._check, issue("renewed")

    def check_and_change() -> None:
        check()
        rig.install(renewed)

    monkeypatch.setattr(rig.certificates, "_check", check_and_change)
    rig.install(renewed)
    for _ in range(2):
        rig.clock.pass_ms(1_001)
        rig.certificates.refresh()
        assert rig.certificates.credentials is former
    monkeypatch.undo()
    rig.clock.pass_ms(1_001)
    rig.certificates.refresh()
    assert rig.certificates.credentials is not former


def test_bundle_with_a_cut_certificate_is_not_used(rig: Rig) -> None:
    """Its first certificate is whole, but the one that matters may be the other."""
    former = rig.certificates.credentials
    text = rig.authority.read_text()
    rig.authority.write_text(text + text[: len(text) // 2])
    rig.clock.pass_ms(1_001)
    rig.certificates.refresh()
    assert rig.certificates.credentials is former
    rig.authority.write_text(f"# Bücher\n{text}\n{text}")
    rig.clock.pass_ms(1_001)
    rig.certificates.refresh()
    assert rig.certificates.credentials is not former


def test_files_that_are_not_there_are_an_error_at_the_start(tmp_path: Path) -> None:
    """Later, the former ones would be kept; here there are none."""
    with pytest.raises(OSError, match=r"none\.pem"):
        GrpcCertificates(authority=str(tmp_path / "none.pem"))


def test_link_to_another_folder_is_a_change(tmp_path: Path, issue: Callable[[str], Pair]) -> None:
    """As Kubernetes renews what it mounts: only the link that the path goes through is replaced."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        shutil.copy(issue(version)[0], tmp_path / version / "ca.crt")
    link, clock = tmp_path / "..data", Clock()
    link.symlink_to("1")
    certificates = GrpcCertificates(authority=str(link / "ca.crt"), clock=clock)
    former = certificates.credentials
    (tmp_path / "..tmp").symlink_to("2")
    (tmp_path / "..tmp").replace(link)
    clock.pass_ms(1_001)
    certificates.refresh()
    assert certificates.credentials is not former
