"""Endpoints: each form is right, or refused at the start with the reason; none fails at each export."""

from base64 import b64decode
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError
from telemetry.settings.endpoint import basic_credentials, check_endpoint, grpc_target, is_same_server
from telemetry.settings.grpc_target import GrpcTarget, read_target

HTTP = "http/protobuf"


@pytest.mark.parametrize(
    ("endpoint", "traces"),
    [
        ("http://h:4318?token=a", "http://h:4318/v1/traces?token=a"),
        ("http://h:4318/otlp/?token=a/b?c", "http://h:4318/otlp/v1/traces?token=a/b?c"),
        ("http://h:4318/a b", "http://h:4318/a%20b/v1/traces"),
        ("http://h:4318/ü", "http://h:4318/%C3%BC/v1/traces"),
        ("http://h:4318/%C3%BC%20a%2Fb", "http://h:4318/%C3%BC%20a%2Fb/v1/traces"),
        ("http://h:4318/100%?a=50% b", "http://h:4318/100%25/v1/traces?a=50%25%20b"),
        ("http://h:4318?", "http://h:4318/v1/traces"),
        ("HTTPS://h", "https://h/v1/traces"),
        (" http://h:4318/\n", "http://h:4318/v1/traces"),
        ("http://h:", "http://h/v1/traces"),
        ("http://bücher.example", "http://xn--bcher-kva.example/v1/traces"),
        ("http://a_b.example.:4318", "http://a_b.example.:4318/v1/traces"),
        ("http://localhost.:4318", "http://localhost:4318/v1/traces"),
        ("http://[fe80::1%25eth0]:4318", "http://[fe80::1%eth0]:4318/v1/traces"),
        ("http://[fe80::1%eth0]:4318", "http://[fe80::1%eth0]:4318/v1/traces"),
        ("http://user:p%40ss@h", "http://user:p%40ss@h/v1/traces"),
    ],
)
def test_http_endpoint_is_a_url_that_can_be_requested(endpoint: str, traces: str) -> None:
    """The signal's path ends the path, the query stays at the end, and nothing is encoded twice."""
    config = TelemetryConfig(protocol=HTTP, endpoint=endpoint)
    assert config.export_endpoint == traces
    assert config.metrics_export_endpoint == traces.replace("/v1/traces", "/v1/metrics")
    assert TelemetryConfig(protocol=HTTP, endpoint=config.endpoint).endpoint == config.endpoint


def test_endpoint_of_one_signal_stays_as_it_is() -> None:
    """Apart from what cannot be requested; without a path, it is the root."""
    for given_, used in {
        "http://h/own path?a=b": "http://h/own%20path?a=b",
        "http://h?a=b": "http://h/?a=b",
        "http://h": "http://h",
    }.items():
        assert TelemetryConfig(protocol=HTTP, traces_endpoint=given_).export_endpoint == used


@pytest.mark.parametrize(
    ("endpoint", "target", "is_insecure"),
    [
        ("http://h:1", "dns:///h:1", True),
        ("http://h", "dns:///h:4317", True),
        ("https://h", "dns:///h:443", False),
        ("HTTPS://h:1/", "dns:///h:1", False),
        ("h", "dns:///h:443", False),
        ("h:1", "dns:///h:1", False),
        ("http://unix:4317", "dns:///unix:4317", True),
        ("dns:4317", "dns:///dns:4317", False),
        ("http://[::1]", "dns:///[::1]:4317", True),
        ("http://user:pass@h:1", "dns:///h:1", True),
        ("dns:///h:1", "dns:///h:1", False),
        ("DNS:h", "dns:///h:443", False),
        ("dns://1.2.3.4:53/h:1", "dns://1.2.3.4:53/h:1", False),
        ("ipv4:1.2.3.4:1,1.2.3.5", "ipv4:1.2.3.4:1,1.2.3.5:443", False),
        ("ipv6:[::1]:1,::2", "ipv6:[::1]:1,[::2]:443", False),
        ("unix:/run/otel.sock", "unix:/run/otel.sock", True),
        ("unix:///run/a b", "unix:/run/a%20b", True),
        ("unix:relative", "unix:relative", True),
        ("UNIX-ABSTRACT:otel", "unix-abstract:otel", True),
    ],
)
def test_grpc_endpoint_is_a_name_with_a_port(endpoint: str, target: str, is_insecure: bool) -> None:
    """The port without one is OTLP's, or with TLS that of https; a Unix socket has no TLS by default."""
    config = TelemetryConfig(endpoint=endpoint)
    assert config.is_insecure is is_insecure
    assert grpc_target(config.export_endpoint, is_insecure=is_insecure) == target
    assert TelemetryConfig(endpoint=config.endpoint).endpoint == config.endpoint


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize(
    ("endpoint", "decides"),
    [("http://h", False), ("https://h", False), ("h", True), ("dns:///h", True), ("unix:/p", True)],
)
def test_flag_decides_on_tls_where_no_scheme_does(endpoint: str, decides: bool, flag: bool) -> None:
    """OTEL_EXPORTER_OTLP_INSECURE counts for addresses without http or https (specification)."""
    expected = flag if decides else endpoint.startswith("http:")
    assert TelemetryConfig(endpoint=endpoint, insecure=flag).is_insecure is expected


@pytest.mark.parametrize(
    ("protocol", "endpoint", "reason"),
    [
        ("both", "http://h:0", "the port is no number from 1 to 65535"),
        ("both", "http://h:65536", "the port is no number from 1 to 65535"),
        ("both", "http://h:4317x", "the port is no number from 1 to 65535"),
        ("both", "http://h#x", "written %23"),
        ("both", "http://", "no host"),
        ("both", "http://h..:1", "the host is no name"),
        ("both", f"http://{'x' * 64}", "the host is no name"),
        ("both", "http://-h", "the host is no name"),
        ("both", "http://a b", "the host is no name"),
        ("both", "http://1.2.3", "no IPv4 address"),
        ("both", "http://1.2.3.256", "no IPv4 address"),
        ("both", "http://[::1", "brackets"),
        ("both", "http://[::g]", "brackets"),
        ("both", "http://[::1%]", "brackets"),
        ("both", "http://::1:4317", "in brackets"),
        ("both", "http://h\r\nx: y", "control character"),
        ("both", "http://a%3Ab:c@h", "colon"),
        ("both", "http://user:pa/ss@h", "written %2F"),
        ("both", "ftp://h", "neither http:// nor https://"),
        ("both", "xds:///h", "neither http:// nor https://"),
        ("both", '"http://h:4317"', "neither http:// nor https://"),
        ("both", "://h:4317", "neither http:// nor https://"),
        (HTTP, "unix:/run/otel.sock", "needs http:// or https://"),
        (HTTP, "h:4318", "needs http:// or https://"),
        ("grpc", "http://h:4317/v1/traces", "no path or query"),
        ("grpc", "http://h:4317?a=b", "no path or query"),
        ("grpc", "unix://run/otel.sock", "unix:/path, unix:///path"),
        ("grpc", "unix:", "path or name"),
        ("grpc", f"unix:/{'x' * 107}", "at most 107 bytes"),
        ("grpc", "unix-abstract://x", "unix-abstract:name"),
        ("grpc", "dns://h:4317", "write dns:///host:port"),
        ("grpc", "dns://h/h:4317", "address of a DNS server"),
        ("grpc", "dns:///user:password@h:4317", "takes no user and password"),
        ("grpc", "ipv4:h:4317", "takes addresses"),
        ("grpc", "ipv4:[::1]:4317", "takes addresses"),
        ("grpc", "ipv6:1.2.3.4:4317", "takes addresses"),
    ],
)
def test_endpoint_to_which_exports_would_fail_stops_the_start(
    protocol: str, endpoint: str, reason: str
) -> None:
    """With a reason that one can act on."""
    for each in ("grpc", HTTP) if protocol == "both" else (protocol,):
        with pytest.raises(ConfigurationError, match=reason):
            TelemetryConfig(protocol=each, endpoint=endpoint)


@pytest.mark.parametrize("protocol", ["grpc", HTTP])
@pytest.mark.parametrize("password", ["hunter2@", "hunter2:x", "hun ter2", "hunter2%23"])
def test_password_is_not_shown(password: str, protocol: str) -> None:
    """Whatever is in it."""
    config = TelemetryConfig(protocol=protocol, endpoint=f"http://user:{password}@h:4317")
    assert "hun" not in config.shown_endpoint
    assert "hun" not in repr(config)


@pytest.mark.parametrize("protocol", ["grpc", HTTP])
@pytest.mark.parametrize(
    "password", ["hunter2?x@y", "hunter2?", "hunter2#x", "hunter2/x", "[hunter2", "\u2100hunter2"]
)
def test_password_that_makes_an_endpoint_malformed_is_not_repeated(password: str, protocol: str) -> None:
    """Not even by the errors of Python's own parser."""
    with pytest.raises(ConfigurationError) as caught:
        TelemetryConfig(protocol=protocol, endpoint=f"http://user:{password}@h:4317")
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "credentials"),
    [
        ("http://user:p%40s%3As@h", "user:p@s:s"),
        ("user:%C3%BC@h:4317", "user:ü"),
        ("http://user@h", "user:"),
        ("http://h", None),
        ("http://@h", None),
        ("unix:/run/@user:pass", None),
    ],
)
def test_user_and_password_become_basic(endpoint: str, credentials: str | None) -> None:
    """Decoded, and encoded as RFC 7617 says."""
    found = basic_credentials(TelemetryConfig(endpoint=endpoint).export_endpoint)
    assert credentials == (None if found is None else b64decode(found.removeprefix("Basic ")).decode())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("h:1", GrpcTarget("dns:///h:1", "h:1", (("h", 1),))),
        ("dns:///h.:1", GrpcTarget("dns:///h.:1", "h:1", (("h.", 1),))),
        ("dns:///[::1%lo]:1", GrpcTarget("dns:///%5B::1%25lo%5D:1", "[::1]:1", (("::1%lo", 1),))),
        ("dns://1.2.3.4/h:1", GrpcTarget("dns://1.2.3.4/h:1", "h:1")),
        ("ipv4:1.2.3.4:1,1.1:2", GrpcTarget("ipv4:1.2.3.4:1,1.1:2")),
        (
            "ipv4:1.2.3.4:1,1.2.3.5:2",
            GrpcTarget("ipv4:1.2.3.4:1,1.2.3.5:2", "1.2.3.4:1", (("1.2.3.4", 1), ("1.2.3.5", 2))),
        ),
        ("unix:/a%20b", GrpcTarget("unix:/a%20b", "localhost", ("/a b",))),
        ("unix-abstract:x", GrpcTarget("unix-abstract:x", "localhost", ("\0x",))),
        ("xds:///h", GrpcTarget("xds:///h")),
    ],
)
def test_target_says_what_certificates_and_sockets_need(name: str, target: GrpcTarget) -> None:
    """The server's name has neither the trailing dot nor the zone: no certificate has them."""
    assert read_target(name) == target


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("unix:///run/@otel", "unix:/run/@otel"),
        ("ipv4:1.2.3.4:1,1.2.3.5:1", "ipv4:1.2.3.4:1,1.2.3.5:1"),
        ("dns:///h:1", "dns:///h:1"),
        ("user:pass@h:1", "h:1"),
    ],
)
def test_names_of_grpc_are_shown(endpoint: str, shown: str) -> None:
    """By logs and health, as they were given."""
    assert TelemetryConfig(endpoint=endpoint).shown_endpoint == shown


def test_same_server_is_known_by_host_and_port() -> None:
    """Whichever way the port is given."""
    assert is_same_server("http://h", "http://h:4317", "grpc")
    assert is_same_server("https://h", "https://h:443", "grpc")
    assert is_same_server("https://h", "https://h:443/x", HTTP)
    assert not is_same_server("http://h", "https://h", "grpc")
    assert is_same_server("unix:/a", "unix:/a", "grpc")
    assert not is_same_server("unix:/a", "unix:/b", "grpc")


@given(st.sampled_from(["grpc", HTTP]), st.text(), st.booleans())
def test_any_text_is_refused_or_can_be_used(protocol: str, text: str, has_scheme: bool) -> None:
    """Whatever is taken stays as it is when it is checked again, and is ASCII without a space."""
    try:
        taken = check_endpoint(f"http://h/{text}" if has_scheme else text, protocol)
    except ValueError:
        return
    if protocol == HTTP and "://" not in taken:
        return
    assert check_endpoint(taken, protocol) == taken
    assert taken.isascii()
    assert " " not in taken
    assert urlsplit(taken).fragment == ""
