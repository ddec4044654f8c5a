"""Which proxy the environment names for an endpoint."""

import os
from unittest import mock
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http_transport import send

from telemetry.config import TelemetryConfig
from telemetry.errors import ConfigurationError
from telemetry.export.otlp.proxy import Proxy, basic, is_direct, proxy_for
from telemetry.export.otlp.transport import build_transport

URL = "http://collector.example:4318/v1/traces"
SECURE = URL.replace("http:", "https:")


@pytest.mark.parametrize(
    ("url", "environment", "host"),
    [
        (URL, {}, None),
        (URL, {"HTTP_PROXY": "http://p"}, "p"),
        (URL, {"http_proxy": "http://p"}, "p"),
        (URL, {"http_proxy": "http://lower", "HTTP_PROXY": "http://upper"}, "lower"),
        (URL, {"http_proxy": "", "HTTP_PROXY": "http://upper"}, None),
        (URL, {"HTTPS_PROXY": "http://p"}, None),
        (SECURE, {"HTTPS_PROXY": "http://p"}, "p"),
        (SECURE, {"https_proxy": "http://p"}, "p"),
        (SECURE, {"HTTP_PROXY": "http://p"}, None),
        (URL, {"ALL_PROXY": "http://p"}, "p"),
        (SECURE, {"all_proxy": "http://p"}, "p"),
        (SECURE, {"ALL_PROXY": "http://all", "HTTPS_PROXY": "http://own"}, "own"),
        (URL, {"http_proxy": "", "HTTP_PROXY": "http://upper", "all_proxy": "http://all"}, "all"),
        (URL, {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, None),
        (URL, {"http_proxy": "http://p", "REQUEST_METHOD": "GET"}, "p"),
        (SECURE, {"HTTPS_PROXY": "http://p", "REQUEST_METHOD": "GET"}, "p"),
        (URL, {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET", "ALL_PROXY": "http://p"}, "p"),
        (URL, {"HTTP_PROXY": "http://p", "NO_PROXY": "collector.example"}, None),
        (URL, {"HTTP_PROXY": "http://p", "no_proxy": "collector.example"}, None),
        (URL, {"HTTP_PROXY": "http://p", "no_proxy": "", "NO_PROXY": "collector.example"}, None),
        ("http://127.0.0.1:4318/", {"HTTP_PROXY": "http://p"}, "p"),
        ("http://localhost:4318/", {"HTTP_PROXY": "http://p"}, "p"),
        ("http://localhost:4318/", {"HTTP_PROXY": "http://p", "NO_PROXY": "localhost"}, None),
    ],
)  # fmt: skip
def test_variables_count_as_for_other_programs(
    url: str, environment: dict[str, str], host: str | None
) -> None:
    """Lower case first; under CGI, a client's header `Proxy` is no proxy; loopback is no exception."""
    found = proxy_for(url, environment)
    assert (None if found is None else found.host) == host


NAMES = [
    each for name in ("http", "https", "all", "no") for each in (f"{name}_proxy", f"{name}_PROXY".upper())
]
VALUES = st.sampled_from(["", "http://one:1", "http://two:2", "collector.example", "other", "*"])


@given(
    st.dictionaries(st.sampled_from([*NAMES, "REQUEST_METHOD"]), VALUES), st.sampled_from(["http", "https"])
)
def test_selection_is_the_standard_librarys(environment: dict[str, str], scheme: str) -> None:
    """What `requests` asks, and so OpenTelemetry's own exporter."""
    if environment.get("no_proxy") == "":
        del environment["no_proxy"]  # there `requests` goes on to the upper case, and urllib does not
    with mock.patch.dict(os.environ, environment, clear=True):
        proxies = getproxies_environment()
        is_bypassed = bool(proxy_bypass_environment("collector.example:4318"))
    expected = None if is_bypassed else proxies.get(scheme, proxies.get("all"))
    url = URL if scheme == "http" else SECURE
    found = proxy_for(url, environment)
    assert (None if found is None else found.host) == (
        None if expected is None else urlsplit(expected if "://" in expected else f"//{expected}").hostname
    )


@pytest.mark.parametrize(
    ("host", "exceptions", "expected"),
    [
        ("collector.example", "example", True),
        ("collector.example", ".example", True),
        ("collector.example", "*.example", True),
        ("collector.example", "collector.example", True),
        ("collector.example", ".collector.example", True),
        ("collector.example", "a, b collector.example", True),
        ("collector.example", "COLLECTOR.Example", True),
        ("collector.example", "collector.example.", True),
        ("collector.example.", "collector.example", True),
        ("collector.example", "collector.example:4318", True),
        ("collector.example", "example:4318", True),
        ("collector.example", "collector.example:4317", False),
        ("collector.example", "llector.example", False),
        ("collector.example", "a.collector.example", False),
        ("collector.example", "*", True),
        ("collector.example", "other, *", True),
        ("collector.example", "", False),
        ("collector.example", " , .", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.9/24", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:4318", True),
        ("10.1.2.3", "10.1.2.3:1", False),
        ("10.1.2.3", ".2.3", False),
        ("10.1.2.3", "10.0.0.0/99", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00:0::1", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]:4318", True),
        ("[fd00::1]", "[fd00::1]:1", False),
        ("[fd00::1]", "10.0.0.0/8", False),
        ("10.1.2.3", "::/0", False),
        ("collector.example", "0.0.0.0/0", False),
    ],
)  # fmt: skip
def test_exceptions_of_no_proxy(host: str, exceptions: str, expected: bool) -> None:
    """Names with what is below them, addresses, networks and ports."""
    assert is_direct(urlsplit(f"http://{host}:4318/"), exceptions) is expected


def test_exception_with_the_usual_port() -> None:
    """A port that the endpoint does not spell out is the scheme's."""
    assert is_direct(urlsplit("https://collector.example/"), "collector.example:443")
    assert not is_direct(urlsplit("http://collector.example/"), "collector.example:443")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://proxy.example:3128/ignored", Proxy("proxy.example", 3128)),
        (" proxy.example:3128 ", Proxy("proxy.example", 3128)),
        ("proxy.example", Proxy("proxy.example", 80)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://user:pass@proxy.example", Proxy("proxy.example", 80, basic("user", "pass"))),
        ("http://a%40b:%3A%2F%C3%BC@p", Proxy("p", 80, "Basic YUBiOjovw7w=")),
        ("http://us@er:p@ss@p", Proxy("p", 80, basic("us@er", "p@ss"))),
        ("HTTP://user@p:1", Proxy("p", 1, basic("user", ""))),
        ("https://p:8443", Proxy("p", 8443, is_tls=True)),
        ("https://p", Proxy("p", 443, is_tls=True)),
    ],
)
def test_proxys_url(value: str, expected: Proxy) -> None:
    """With a scheme or without, with percent-encoded credentials."""
    assert proxy_for(URL, {"HTTP_PROXY": value}) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("socks5://user:s3cret@proxy.example:1080", "socks5:// is not supported"),
        ("socks5h://proxy.example", "socks5h:// is not supported"),
        ("http://user:s3cret@proxy.example:http", "it is not like http://user:password@proxy.example:3128"),
        ("http://user:s3cret/x@proxy.example:1", "special characters %-encoded"),
        ("http://user:s3cret?x@proxy.example", "it is not like"),
        ("http://user:s3cret#x@proxy.example", "it is not like"),
        ("http://user:s3cret@proxy.example:99999", "it is not like"),
        ("http://user:s3cret@[::1", "it is not like"),
        ("http://user:s3cret\u2100@proxy.example", "it is not like"),
        ("http://user:s3cret@:3128", "it is not like"),
        ("http://user:s3cret@a b:3128", "it is not like"),
        ("http://p:0", "it is not like"),
    ],
)
def test_proxy_that_cannot_be_used_is_told_without_secrets(value: str, reason: str) -> None:
    """The message names variable, value and remedy."""
    with pytest.raises(ConfigurationError) as raised:
        proxy_for(SECURE, {"HTTPS_PROXY": value})
    message = str(raised.value)
    assert message.startswith("HTTPS_PROXY=")
    assert reason in message
    assert "NO_PROXY" in message
    assert "s3cret" not in message
    assert "s3cret" not in repr(Proxy("p", 1, basic("user", "s3cret")))


def test_environment_reaches_the_transport(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    """Nobody listens there, so the result names the proxy."""
    monkeypatch.setenv("http_proxy", f"http://user:s3cret@127.0.0.1:{free_port}")
    made = build_transport(
        TelemetryConfig(protocol="http/protobuf", endpoint="http://collector.example:4318")
    )
    outcome = send(made)  # type: ignore[arg-type]
    assert outcome.kind == "proxy"
    assert f"127.0.0.1:{free_port}" in outcome.detail
    assert "s3cret" not in outcome.detail
