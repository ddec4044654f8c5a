"""The head of a request: every header once, whatever is configured."""

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import pytest
from support.http_transport import PAYLOAD, send
from support.raw_http_server import RawHttpServer, answer

from telemetry.config import TelemetryConfig
from telemetry.export.otlp import request_head as request_head_module
from telemetry.export.otlp.http import HttpTransport
from telemetry.export.otlp.proxy import Proxy
from telemetry.export.otlp.request_head import request_head
from telemetry.export.otlp.result import Disposition
from telemetry.export.otlp.transport import build_metric_transport, build_transport
from telemetry.export.otlp.user_agent import USER_AGENT

MakeTransport = Callable[..., HttpTransport]


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own, as far as warnings that come once go."""
    monkeypatch.setattr(request_head_module, "_told", set())


def head(
    url: str, headers: Mapping[str, str], *, proxy: Proxy | None = None
) -> tuple[str, list[tuple[str, str]]]:
    """Returns the target and the headers, names in lower case."""
    line, *lines = (
        request_head(urlsplit(url), headers, is_compressed=False, proxy=proxy).decode().split("\r\n")
    )
    pairs = [tuple(each.split(": ", 1)) for each in lines]
    return line.removeprefix("POST ").removesuffix(" HTTP/1.1"), [
        (name.lower(), value) for name, value in pairs
    ]


@pytest.mark.parametrize(
    "name",
    [
        "content-type", "Content-Encoding", "CONTENT-LENGTH", "transfer-encoding", "connection", "Keep-Alive",
        "expect", "te", "trailer", "upgrade", "accept-encoding", "proxy-authorization", "Proxy-Connection",
    ],
)  # fmt: skip
def test_header_that_is_the_transports_own_is_left_out_and_told_once(
    name: str, server: RawHttpServer, make_transport: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """Sent as configured, it would break each export; its value may be a secret and is not told."""
    for _ in range(2):
        made = make_transport(server, headers={name: "17-secret", "x-tenant": "shop"})
        assert send(made).disposition is Disposition.DELIVERED
    for headers, body in server.requests:
        assert "17-secret" not in str(headers)
        assert (headers["content-type"], headers["x-tenant"]) == ("application/x-protobuf", "shop")
        assert body == PAYLOAD
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"the export header {name.lower()} is left out: ")
    assert "17-secret" not in line


def test_header_that_says_what_is_sent_anyway_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """Vendors' instructions often set the content type."""
    _, sent = head("http://h/", {"content-type": "application/x-protobuf"})
    assert [value for name, value in sent if name == "content-type"] == ["application/x-protobuf"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_names_of_headers_have_no_case() -> None:
    """Of two the last counts, in the spelling that it was given."""
    lines = request_head(
        urlsplit("http://h/"), {"x-A": "1", "X-a": "2"}, is_compressed=False, proxy=None
    ).decode()
    assert lines.lower().count("x-a:") == 1
    assert "\r\nX-a: 2\r\n" in lines


@pytest.mark.parametrize("name", ["user-agent", "User-Agent", "USER-AGENT"])
def test_configured_user_agent_goes_in_front(
    name: str, server: RawHttpServer, make_transport: MakeTransport
) -> None:
    """There is one line, and it still names the exporter."""
    assert send(make_transport(server, headers={name: "shop/1.2"})).disposition is Disposition.DELIVERED
    assert server.requests[0][0]["user-agent"] == f"shop/1.2 {USER_AGENT}"


def test_configured_host_replaces_the_endpoints(server: RawHttpServer, make_transport: MakeTransport) -> None:
    """That is how a name is reached at an address."""
    assert send(make_transport(server, headers={"hOst": "collector.example"})).kind == ""
    assert server.requests[0][0]["host"] == "collector.example"
    _, sent = head("http://h/", {"hOst": "collector.example"})
    assert [name for name, _ in sent].count("host") == 1


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://Collector.Example/v1/traces", "/v1/traces", "collector.example"),
        ("http://collector.example:80", "/", "collector.example"),
        ("http://collector.example:443/", "/", "collector.example:443"),
        ("https://collector.example:443/", "/", "collector.example"),
        ("https://collector.example:4318/a?b=c&d", "/a?b=c&d", "collector.example:4318"),
        ("http://collector.example.:4318?b", "/?b", "collector.example:4318"),
        ("http://[::1]:4318/", "/", "[::1]:4318"),
        ("http://[fe80::1%25eth0]/", "/", "[fe80::1]"),
        ("http://bücher.example/ü b?ä=ö", "/%C3%BC%20b?%C3%A4=%C3%B6", "xn--bcher-kva.example"),
        ("http://user:secret@h:1/a%20b", "/a%20b", "h:1"),
        ("http://h/#fragment", "/", "h"),
    ],
)
def test_target_and_host(url: str, target: str, host: str) -> None:
    """No credentials, no port that goes without saying, no fragment; encoded once."""
    found, sent = head(url, {})
    assert found == target
    assert dict(sent)["host"] == host


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:secret", "user:secret"),
        ("user", "user:"),
        (":secret", ":secret"),
        ("a%40b:p%3A%2F%C3%BC", "a@b:p:/ü"),
    ],
)
def test_credentials_of_the_endpoint_are_basic_authorization(userinfo: str, credentials: str) -> None:
    """They are percent-decoded, in UTF-8 (RFC 7617)."""
    _, sent = head(f"http://{userinfo}@h/", {})
    assert [value for name, value in sent if name == "authorization"] == [
        f"Basic {b64encode(credentials.encode()).decode()}"
    ]


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
def test_configured_authorization_wins(name: str) -> None:
    """One line goes out, the more explicit one."""
    _, sent = head("http://user:secret@h/", {name: "Bearer token"})
    assert [value for name, value in sent if name == "authorization"] == ["Bearer token"]


@pytest.mark.parametrize("build", [build_transport, build_metric_transport])
def test_credentials_of_a_configured_endpoint_arrive_and_are_not_shown(
    build: Callable[[TelemetryConfig], HttpTransport], server: RawHttpServer
) -> None:
    """The same for spans and for metrics."""
    config = TelemetryConfig(protocol="http/protobuf", endpoint=f"http://user:s3cret@127.0.0.1:{server.port}")
    made = build(config)
    assert send(made).disposition is Disposition.DELIVERED
    assert server.requests[0][0]["authorization"] == f"Basic {b64encode(b'user:s3cret').decode()}"
    server.script = lambda peer: peer.sendall(answer("503 No", b"because"))
    outcome = send(made)
    made.close()
    assert outcome.kind == "http_503"
    assert "s3cret" not in f"{outcome} {config!r} {config.shown_endpoint}"
