"""gRPC on networks as they are: several servers, connections that end, silence in between."""

import os
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from support.clock import Clock
from support.dns_server import DnsServer
from support.export_load import ExportLoad
from support.raw_grpc_server import RawGrpcServer
from support.waiting import Until
from support.wire import BlackHole, Wire

from telemetry.config import TelemetryConfig
from telemetry.export.otlp.grpc import GrpcTransport
from telemetry.export.otlp.grpc_channel import _OPTIONS
from telemetry.export.otlp.result import Disposition
from telemetry.export.otlp.transport import Transport, build_transport
from telemetry.export.otlp.user_agent import USER_AGENT

MakeServer = Callable[..., RawGrpcServer]
MakeTransport = Callable[..., GrpcTransport]
BESIDE = "127.0.0.2"
"""An address of this machine, too."""
THREADS = 4


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Starts servers that accept everything."""
    made: list[RawGrpcServer] = []

    def make(*options: tuple[str, int], **arguments: object) -> RawGrpcServer:
        made.append(RawGrpcServer(options, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def make_transport() -> Iterator[MakeTransport]:
    """Makes transports and closes them."""
    made: list[GrpcTransport] = []

    def make(target: str, **arguments: object) -> GrpcTransport:
        made.append(GrpcTransport(target, **{"headers": {}, **arguments}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def is_delivered(transport: Transport) -> bool:
    """Sends one export and returns whether it was delivered."""
    return transport.send(b"x", 5.0).disposition is Disposition.DELIVERED


def both(port: int) -> str:
    """Returns a target with two addresses."""
    return f"ipv4:127.0.0.1:{port},{BESIDE}:{port}"


def test_exports_take_turns_over_all_addresses(
    make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """Once both are connected, each gets every second request."""
    one = make_server()
    other = make_server(host=BESIDE, port=one.port)
    transport = make_transport(both(one.port))
    until("both to be connected", lambda: is_delivered(transport) and one.requests and other.requests)
    before = len(one.requests), len(other.requests)
    assert all(is_delivered(transport) for _ in range(20))
    assert (len(one.requests) - before[0], len(other.requests) - before[1]) == (10, 10)


@pytest.mark.parametrize("grace_seconds", [5.0, None])
def test_server_that_leaves_costs_only_the_attempts_in_progress(
    grace_seconds: float | None, make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """The others go on with its share, and when it is back, it gets some again.

    Even in peace, Python's server cancels requests that reach it while it stops.
    """
    one = make_server()
    other = make_server(host=BESIDE, port=one.port)
    transport = make_transport(both(one.port))
    with ExportLoad(transport, threads=THREADS) as load:
        until("both to be used", lambda: one.requests and other.requests)
        one.stop(grace_seconds)
        before = load.delivered
        until("the other one alone to be used", lambda: load.delivered > before + 100)
        one.start()
        before = len(one.requests)
        until("the first to be used again", lambda: len(one.requests) > before, seconds=20)
    assert load.failures.total() <= THREADS, load.failures


def test_server_that_is_not_there_is_passed_over(
    make_server: MakeServer, make_transport: MakeTransport
) -> None:
    """Whether nobody listens at an address or nothing comes back from it; every new channel is the same."""
    one = make_server()
    for _ in range(10):
        assert is_delivered(make_transport(both(one.port)))
    hole = socket.create_server((BESIDE, one.port), backlog=0)  # accepts, and says nothing
    try:
        assert is_delivered(make_transport(both(one.port)))
    finally:
        hole.close()


def test_black_hole_is_passed_over(
    make_server: MakeServer, make_transport: MakeTransport, free_port: int
) -> None:
    """Its SYNs are lost, but the other server is connected meanwhile."""
    hole = BlackHole(free_port)
    try:
        make_server(host=BESIDE, port=free_port)
        assert is_delivered(make_transport(both(free_port)))
    finally:
        hole.close()


@pytest.fixture
def names() -> Iterator[DnsServer]:
    """A DNS server."""
    made = DnsServer()
    yield made
    made.close()


def named(names: DnsServer, port: int) -> str:
    """Returns a target that the DNS server resolves."""
    return f"dns://127.0.0.1:{names.port}/collector.test:{port}"


def test_name_is_resolved_anew_when_one_of_its_servers_leaves(
    names: DnsServer, make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """As pods are replaced: what comes in its place is used, and what stays is used all the time."""
    names.addresses = ("127.0.0.1", BESIDE)
    leaving = make_server()
    staying = make_server(host=BESIDE, port=leaving.port)
    coming = make_server(host="127.0.0.3", port=leaving.port)
    transport = make_transport(named(names, leaving.port))
    with ExportLoad(transport, threads=THREADS) as load:
        until("both to be used", lambda: leaving.requests and staying.requests)
        names.addresses = (BESIDE, "127.0.0.3")
        leaving.stop(grace_seconds=5)
        until("the new one to be used", lambda: coming.requests, seconds=20)
    assert load.failures.total() <= THREADS, load.failures


def test_name_that_moves_is_followed(
    names: DnsServer, make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """By the first attempt after the one that finds its server gone."""
    names.addresses = ("127.0.0.1",)
    former = make_server()
    transport = make_transport(named(names, former.port))
    assert is_delivered(transport)
    make_server(host=BESIDE, port=former.port)
    names.addresses = (BESIDE,)
    former.stop()
    results = [is_delivered(transport) for _ in range(5)]
    assert results[1:] == [True] * 4


def test_name_is_not_resolved_for_each_export(
    names: DnsServer, make_server: MakeServer, make_transport: MakeTransport
) -> None:
    """A connection that works is kept."""
    names.addresses = ("127.0.0.1",)
    transport = make_transport(named(names, make_server().port))
    assert all(is_delivered(transport) for _ in range(20))
    assert names.asked == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_localhost_works_with_one_of_its_addresses_alone(
    host: str, make_server: MakeServer, make_transport: MakeTransport
) -> None:
    """Many machines have both addresses for it, and most servers listen on one of them."""
    with socket.socket(socket.AF_INET6 if host == "[::1]" else socket.AF_INET) as probe:
        probe.bind((host.strip("[]"), 0))
        port = probe.getsockname()[1]
    make_server(host=f"{host}:{port}")
    for _ in range(10):
        assert is_delivered(make_transport(f"localhost:{port}"))


@pytest.mark.parametrize("size", [100, 600_000])
def test_age_limit_of_connections_costs_no_attempt(
    size: int, make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """A request that crosses the server's GOAWAY is sent again, however large it is."""
    server = make_server(
        ("grpc.max_connection_age_ms", 20),
        ("grpc.max_connection_age_grace_ms", 5_000),
        ("grpc.max_receive_message_length", -1),
    )
    transport = make_transport(f"127.0.0.1:{server.port}")
    with ExportLoad(transport, bytes(size)) as load:
        until("many connections", lambda: len(server.peers) >= 40, seconds=60)
    assert not load.failures


def test_idle_limit_of_connections_costs_no_attempt(
    make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """Also while nothing is sent, a server may say goodbye."""
    server, pause = make_server(("grpc.max_connection_idle_ms", 50)), threading.Event()
    transport = make_transport(f"127.0.0.1:{server.port}")
    until("an export", lambda: is_delivered(transport))
    for _ in range(4):
        pause.wait(0.1)
        assert is_delivered(transport)
    assert len(server.peers) > 1


def test_strict_server_ends_no_connection(make_server: MakeServer, make_transport: MakeTransport) -> None:
    """Not a ping is sent more often than gRPC's servers allow by default, each 5 minutes, or while idle."""
    assert "grpc.keepalive_permit_without_calls" not in _OPTIONS
    assert int(_OPTIONS["grpc.keepalive_time_ms"]) > 300_000
    server, pause = make_server(("grpc.http2.max_ping_strikes", 1)), threading.Event()
    transport = make_transport(f"127.0.0.1:{server.port}")
    for _ in range(4):
        assert is_delivered(transport)
        pause.wait(0.1)
    assert len(server.peers) == 1


def test_kernel_gives_up_a_connection_on_which_nothing_is_acknowledged(
    make_server: MakeServer, make_transport: MakeTransport
) -> None:
    """Within 20 s, instead of a quarter of an hour."""
    server = make_server()
    assert is_delivered(make_transport(f"127.0.0.1:{server.port}"))
    limits = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(number.name))) as found:
            if found.getpeername()[1] == server.port:
                limits.append(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    assert limits == [20_000]


def test_connection_that_died_while_idle_costs_no_attempt(
    make_server: MakeServer, make_transport: MakeTransport
) -> None:
    """What is in between may have forgotten it: after two minutes there is a new one, not before."""
    server, clock = make_server(), Clock()
    wire = Wire(server.port)
    try:
        transport = make_transport(f"127.0.0.1:{wire.port}", clock=clock)
        assert is_delivered(transport)
        clock.pass_ms(119_000)
        assert is_delivered(transport)
        assert wire.connections == 1
        wire.freeze()
        clock.pass_ms(121_000)
        assert is_delivered(transport)
        assert wire.connections == 2
    finally:
        wire.close()


def test_export_in_progress_is_not_idle(
    make_server: MakeServer, make_transport: MakeTransport, until: Until
) -> None:
    """However long it takes, the next one shares its connection."""
    server, clock = make_server(), Clock()
    transport = make_transport(f"127.0.0.1:{server.port}", clock=clock)

    def hold(_: grpc.ServicerContext) -> bytes:
        server.answer = lambda _: b""
        clock.pass_ms(500_000)
        assert is_delivered(transport)
        return b""

    server.answer = hold
    assert is_delivered(transport)
    assert len(server.peers) == 1


@pytest.mark.parametrize("name", ["otel.sock", "a b.sock"])
def test_unix_socket_is_exported_to(
    name: str, tmp_path: Path, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS, whatever proxies there are, and with an authority that servers accept."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    path = tmp_path / name
    for host, endpoint in {
        f"unix:{path}".replace(" ", "%20"): f"unix:{path}",
        f"unix-abstract:{path.name}".replace(" ", "%20"): f"unix-abstract:{path.name}",
    }.items():
        server = make_server(host=host)
        transport = build_transport(TelemetryConfig(endpoint=endpoint))
        assert is_delivered(transport)
        assert len(server.requests) == 1
        transport.close()


def metadata_for(server: RawGrpcServer, **settings: object) -> dict[str, object]:
    """Exports once with the settings, and returns what came with the request."""
    transport = build_transport(TelemetryConfig(**settings))
    assert is_delivered(transport)
    transport.close()
    return server.requests[-1][1]


def test_user_agent_names_the_exporter(make_server: MakeServer) -> None:
    """Before gRPC's own; an application's comes first (specification, "User Agent")."""
    server = make_server()
    endpoint = f"http://127.0.0.1:{server.port}"
    agent = str(metadata_for(server, endpoint=endpoint)["user-agent"])
    assert agent.startswith(f"{USER_AGENT} grpc-python/")
    agent = str(metadata_for(server, endpoint=endpoint, headers={"User-Agent": "Shop/1"})["user-agent"])
    assert agent.startswith(f"Shop/1 {USER_AGENT} grpc-python/")


def test_user_and_password_of_the_endpoint_are_sent(make_server: MakeServer) -> None:
    """As HTTP Basic authentication, unless the headers have something else."""
    server = make_server()
    endpoint = f"http://user:p%40ss@127.0.0.1:{server.port}"
    basic = f"Basic {b64encode(b'user:p@ss').decode()}"
    assert metadata_for(server, endpoint=endpoint)["authorization"] == basic
    assert metadata_for(server, endpoint=endpoint, headers={"x": "y"})["authorization"] == basic
    other = metadata_for(server, endpoint=endpoint, headers={"Authorization": "Bearer x"})
    assert other["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://localhost:{0}",
        "https://127.0.0.1:{0}/",
        "dns:///localhost:{0}",
        "ipv4:127.0.0.1:{0},127.0.0.3:{0}",
    ],
)
def test_server_is_verified_by_the_endpoints_host(
    endpoint: str, make_server: MakeServer, certificates: dict[str, tuple[Path, Path]]
) -> None:
    """A list of addresses has its first one as name."""
    chain, key = (file.read_bytes() for file in certificates["valid"])
    server = make_server(credentials=grpc.ssl_server_credentials([(key, chain)]))
    authority = str(certificates["valid"][0])
    transport = build_transport(TelemetryConfig(endpoint=endpoint.format(server.port), certificate=authority))
    assert is_delivered(transport)
    transport.close()
