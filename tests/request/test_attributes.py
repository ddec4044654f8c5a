"""What a server span says of its request: the stable HTTP conventions, from the scope alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.config import TelemetryConfig
from telemetry.request.attributes import (
    LONGEST_VALUE,
    METHODS,
    QueryRedaction,
    RequestAttributes,
    merged,
    name_of,
)

USUAL = RequestAttributes(TelemetryConfig())


def attributes_of(headers: dict[bytes, bytes] | None = None, **scope: Any) -> dict[str, Any]:
    """Returns the attributes of a request with these headers and this in its scope."""
    whole = {"type": "http", "method": "GET", "path": "/", "scheme": "http", **scope}
    return merged(USUAL.of_request(whole, METHODS[whole["method"]], headers or {}))


def test_ordinary_request() -> None:
    """Each attribute that the conventions require or recommend, under its stable name."""
    assert attributes_of(
        {b"host": b"shop.example:8443", b"user-agent": b"curl/8"},
        scheme="https",
        path="/items/7",
        query_string=b"q=tea",
        http_version="1.1",
        client=("10.0.0.1", 5000),
        server=("127.0.0.1", 8000),
    ) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "url.path": "/items/7",
        "url.query": "q=tea",
        "network.protocol.version": "1.1",
        "server.address": "shop.example",
        "server.port": 8443,
        "client.address": "10.0.0.1",
        "network.peer.address": "10.0.0.1",
        "network.peer.port": 5000,
        "user_agent.original": "curl/8",
    }


@pytest.mark.parametrize(
    ("host", "scheme", "address", "port"),
    [
        (b"shop.example", "http", "shop.example", 80),
        (b"shop.example", "wss", "shop.example", 443),
        (b"[::1]:8000", "http", "::1", 8000),
        (b"[::1]", "https", "::1", 443),
        (b"shop.example:http", "http", "shop.example:http", 80),
        (b"shop:\xb2", "http", "shop:\xb2", 80),
        (b"shop:123456789012345678901234567890", "http", "shop:123456789012345678901234567890", 80),
        (b"shop:000000000070000", "http", "shop:000000000070000", 80),
        (b"user:secret@shop.example:8080", "http", "shop.example", 8080),
        (b"", "http", "127.0.0.1", 8000),
    ],
)
def test_server_is_what_the_client_asked_for(host: bytes, scheme: str, address: str, port: int) -> None:
    """The `Host` header wins over the socket; a malformed one is no error."""
    found = attributes_of({b"host": host}, scheme=scheme, server=("127.0.0.1", 8000))
    assert (found["server.address"], found["server.port"]) == (address, port)


def test_socket_without_a_port_is_an_address_alone() -> None:
    """A Unix socket, and a client's address that a proxy's header gave."""
    found = attributes_of(server=("/run/shop.sock", None), client=("203.0.113.7", 0))
    assert found["server.address"] == "/run/shop.sock"
    assert found["client.address"] == "203.0.113.7"
    assert not {"server.port", "network.peer.address", "network.peer.port"} & found.keys()


def test_unknown_method_is_bounded() -> None:
    """The method itself goes to the attribute for it."""
    found = attributes_of(method="BREW")
    assert (found["http.request.method"], found["http.request.method_original"]) == ("_OTHER", "BREW")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("sig=abc&page=2", "sig=REDACTED&page=2"),
        ("a=1&X-Amz-Signature=x%3D", "a=1&X-Amz-Signature=REDACTED"),
        (
            "X-AMZ-CREDENTIAL=1&x-amz-security-token=2",
            "X-AMZ-CREDENTIAL=REDACTED&x-amz-security-token=REDACTED",
        ),
        ("AWSAccessKeyId=1&Signature=2", "AWSAccessKeyId=REDACTED&Signature=REDACTED"),
        ("X-Goog-Signature=3", "X-Goog-Signature=REDACTED"),
        ("signature", "signature"),
        ("sig", "sig"),
        ("sig=", "sig=REDACTED"),
        ("design=x", "design=x"),
    ],
)
def test_credentials_in_a_query_are_redacted(query: str, shown: str) -> None:
    """The parameters that the conventions name, whatever their case."""
    assert QueryRedaction().redact(query) == shown
    assert attributes_of(query_string=query.encode())["url.query"] == shown


def test_long_values_are_cut() -> None:
    """A caller cannot make spans large."""
    long = "x" * 10_000
    found = attributes_of(
        {b"host": long.encode(), b"user-agent": long.encode()},
        method=long,
        path=f"/{long}",
        query_string=long.encode(),
    )
    assert max(len(value) for value in found.values() if isinstance(value, str)) == LONGEST_VALUE


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=50), st.text(max_size=20))
def test_any_bytes_are_taken(host: bytes, agent: bytes, query: bytes, method: str) -> None:
    """Whatever a client sends, there is an answer."""
    found = attributes_of({b"host": host, b"user-agent": agent}, query_string=query, method=method)
    assert found["url.path"] == "/"


TEXTS = st.sampled_from(["a", "b", "b" * 600, "\xe9"])
HEADERS = st.dictionaries(
    st.sampled_from([b"host", b"user-agent", b"x-forwarded-for"]),
    TEXTS.map(lambda text: text.encode("latin-1")),
)
SCOPES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "BREW"]),
        "path": TEXTS,
        "scheme": st.sampled_from(["http", "https"]),
    },
    optional={
        "http_version": st.sampled_from(["1.0", "1.1", "2"]),
        "server": st.sampled_from([None, ("a", 80), ["a", 8080], ("/socket", None)]),
        "client": st.sampled_from([None, ("a", 1), ("b", 2), ["a", 0]]),
        "query_string": st.sampled_from([b"", b"a=1"]),
    },
)


@given(st.lists(st.tuples(SCOPES, HEADERS), max_size=6))
def test_shared_attributes_are_those_of_the_request(
    requests: list[tuple[dict[str, Any], dict[bytes, bytes]]],
) -> None:
    """Whatever requests came before."""
    one_for_all = RequestAttributes(TelemetryConfig())
    for scope, headers in requests:
        method = METHODS[scope["method"]]
        found = merged(one_for_all.of_request(scope, method, headers))
        assert found == merged(RequestAttributes(TelemetryConfig()).of_request(scope, method, headers))
        end = one_for_all.of_end(method, scope["path"], 200)
        assert (end.name, end.first_name) == (name_of(method, scope["path"]), name_of(method, None))
        assert end.attributes.values == {"http.route": scope["path"], "http.response.status_code": 200}


def test_what_clients_send_fills_no_memory() -> None:
    """Neither many different headers, addresses and routes nor long ones."""
    attributes = RequestAttributes(TelemetryConfig())
    for number in range(3_000):
        scope = {"method": "GET", "path": "/", "client": (f"10.0.0.{number}", 1)}
        attributes.of_request(scope, "GET", {b"user-agent": b"agent %d" % number})
        long = {"method": "GET", "path": "/", "client": ("x" * 60_000 + str(number), 1)}
        attributes.of_request(long, "GET", {b"host": b"h" * 60_000 + b"%d" % number})
        attributes.of_end("GET", f"/{number}", 200)
    kept = (attributes._shared, attributes._clients, attributes._ends)
    assert all(0 < len(each) <= 512 for each in kept)
    assert len(repr(kept[:2])) < 1_000_000


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ({"client": (None, 0)}, {}),
        ({"client": ("h",)}, {}),
        ({"client": ()}, {}),
        ({"server": ("h",)}, {"server.address": "h"}),
        ({"server": ("::1", 80, 0, 0)}, {"server.address": "::1", "server.port": 80}),
        ({"client": ("x" * 9_000, 0)}, {"client.address": "x" * LONGEST_VALUE}),
    ],
)
def test_odd_peers_cost_nothing_else(peers: dict[str, Any], expected: dict[str, Any]) -> None:
    """Adapters of other servers may not know them, or know more."""
    assert attributes_of(**peers) == {
        "http.request.method": "GET",
        "url.path": "/",
        "url.scheme": "http",
        **expected,
    }
