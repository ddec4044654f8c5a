"""Connecting alone: whether anything takes connections where a gRPC target leads."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.waiting import Until
from support.wire import BlackHole

from telemetry.export.otlp.grpc import GrpcTransport
from telemetry.export.otlp.grpc_reach import Reach, is_proxied
from telemetry.export.otlp.result import Disposition, ExportResult
from telemetry.settings.grpc_target import GrpcTarget, read_target


def connect(target: str, seconds: float = 5.0) -> ExportResult | None:
    """Connects to a target's addresses."""
    transport = GrpcTransport(target, headers={})
    try:
        return transport.connect_only(seconds)
    finally:
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server of raw sockets, on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    """Returns its port."""
    port: int = listener.getsockname()[1]
    return port


def test_connection_is_opened_and_closed_without_a_byte(listener: socket.socket) -> None:
    """Neither TLS nor HTTP/2 costs the server anything."""
    assert connect(f"127.0.0.1:{port_of(listener)}") is None
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(5)
        assert peer.recv(1) == b""


@pytest.mark.parametrize(
    "target",
    [
        "localhost:{0}",
        "dns:///localhost:{0}",
        "ipv4:127.0.0.2:{0},127.0.0.1:{0}",
        "ipv6:[::1]:{0}",
        "[::1]:{0}",
    ],
)
def test_one_of_several_addresses_is_enough(target: str, listener: socket.socket) -> None:
    """As for gRPC, which uses those that answer; IPv6 is on another port, where nobody listens."""
    result = connect(target.format(port_of(listener)))
    assert (result is None) == ("::1" not in target)


def test_nobody_listening_is_told(free_port: int) -> None:
    """With the address and the system's reason."""
    result = connect(f"127.0.0.1:{free_port}")
    assert result is not None
    assert (result.disposition, result.kind) == (Disposition.RETRYABLE, "connection")
    assert f"127.0.0.1:{free_port}" in result.detail
    assert "refused" in result.detail


def test_unknown_name_is_told() -> None:
    """Also one that no resolver takes."""
    for host in ("no-such-host.invalid", f"{'x' * 64}.invalid"):
        result = Reach(GrpcTarget("x", host, ((host, 4317),))).connect(5)
        assert result is not None
        assert result.kind == "dns"
        assert host in result.detail


def test_black_hole_costs_the_time_and_no_more(free_port: int, until: Until) -> None:
    """A name with a hole before a server leaves time for the server."""
    hole = BlackHole(free_port)
    try:
        result = connect(f"127.0.0.1:{free_port}", 0.2)
        assert result is not None
        assert result.kind == "timeout"
        with socket.create_server(("127.0.0.2", free_port)):
            assert connect(f"ipv4:127.0.0.1:{free_port},127.0.0.2:{free_port}", 1.0) is None
    finally:
        hole.close()


@pytest.mark.parametrize("name", ["socket", "a b"])
def test_unix_socket_is_connected_to(name: str, tmp_path: Path) -> None:
    """By path, and by a name without one."""
    path = tmp_path / name
    target = f"unix:{path}"
    result = connect(target)
    assert result is not None
    assert (result.kind, str(path) in result.detail) == ("connection", True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert connect(target) is None
        assert connect(target.replace("unix:", "unix://")) is None
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{path}")
        listening.listen()
        assert connect(f"unix-abstract:{path}") is None


@pytest.mark.parametrize(
    "target", ["xds:///collector", "dns://127.0.0.1/collector:4317", "my-resolver:///x", "collector"]
)
def test_what_only_grpc_can_tell_is_left_to_it(target: str) -> None:
    """A name that it alone resolves is not called unreachable."""
    assert connect(target) is None


def test_proxy_of_the_environment_is_left_to_grpc(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the connection in the Collector's place, unless the host is excepted or local."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert connect(f"127.0.0.1:{free_port}") is None
    assert connect("unix:/no/such/socket") is not None
    monkeypatch.setenv("no_proxy", "elsewhere, 127.0.0.1")
    assert connect(f"127.0.0.1:{free_port}") is not None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"HTTP_PROXY": "p"}, False),
        ({"https_proxy": "p"}, True),
        ({"grpc_proxy": "p", "no_proxy": "example"}, False),
        ({"grpc_proxy": "p", "no_proxy": "Collector.Example"}, False),
        ({"grpc_proxy": "p", "no_proxy": "example", "no_grpc_proxy": ""}, True),
        ({"grpc_proxy": "p", "no_grpc_proxy": "other"}, True),
    ],
)
def test_proxy_follows_the_variables_of_grpc(variables: dict[str, str], expected: bool) -> None:
    """Its library reads lower case alone, and takes exceptions as ends of names."""
    assert is_proxied("collector.example", variables) is expected


def test_resolver_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the question comes: each one would keep a thread for half a minute."""
    release, asked = threading.Event(), []

    def hang(*arguments: Any, **options: Any) -> list[Any]:
        asked.append(arguments)
        release.wait(30)
        raise OSError("in vain")

    reach = Reach(read_target("collector.example:4317"))
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", hang)
        for _ in range(3):
            result = reach.connect(0.05)
            assert result is not None
            assert result.kind == "timeout"
        assert len(asked) == 1
        release.set()
        with suppress(OSError):
            reach._lookups["collector.example"].wait(float("inf"))
        result = reach.connect(5)
        assert result is not None
        assert (result.kind, len(asked)) == ("dns", 2)
