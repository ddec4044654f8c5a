"""What server spans say where the settings ask for more, or for less: headers, old names, secrets."""

import anyio
import pytest
from fastapi import FastAPI, Response, WebSocket
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability as Stability
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from support.traced_app import TracedApp, quiet_config

from telemetry.request.attributes import QueryRedaction
from telemetry.request.headers import HIDDEN, CapturedHeaders


def traced_with(**settings: object) -> TracedApp:
    """Returns an application with these settings; /x answers with two cookies, and /ws is a WebSocket."""
    traced = TracedApp(FastAPI(), quiet_config(**settings))

    @traced.app.get("/x")
    def read(response: Response) -> int:
        response.headers["X-Shard"] = "7"
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return 1

    @traced.app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept(headers=[(b"x-shard", b"8")])
        await socket.close()

    return traced


def captured(traced: TracedApp) -> dict[str, object]:
    """Returns the header attributes of the only server span."""
    (span,) = traced.server_spans
    return {key: value for key, value in (span.attributes or {}).items() if ".header." in key}


def test_no_header_is_captured_unless_asked_for() -> None:
    """Their values may be secrets."""
    traced = traced_with()
    with traced.browser() as http:
        http.get("/x", headers={"x-tenant": "blue"})
    assert captured(traced) == {}


def test_headers_are_captured_by_name_in_any_case() -> None:
    """Under the stable name, with each of its values."""
    traced = traced_with(
        captured_request_headers=("X-Tenant", "accept"), captured_response_headers=("x-shard", "x-absent")
    )
    with traced.browser() as http:
        http.get("/x", headers=[("x-tenant", "blue"), ("X-TENANT", "green"), ("x-other", "1")])  # type: ignore[arg-type]
    assert captured(traced) == {
        "http.request.header.x-tenant": ("blue", "green"),
        "http.request.header.accept": ("*/*",),
        "http.response.header.x-shard": ("7",),
    }


def test_headers_are_captured_by_pattern_of_the_whole_name() -> None:
    """As contrib reads it."""
    traced = traced_with(
        captured_request_headers=("x-t.*",), captured_response_headers=("shard", "content-.*")
    )
    with traced.browser() as http:
        http.get("/x", headers={"x-tenant": "blue", "an-x-trail": "1"})
    assert captured(traced) == {
        "http.request.header.x-tenant": ("blue",),
        "http.response.header.content-length": ("1",),
        "http.response.header.content-type": ("application/json",),
    }


def test_sanitized_headers_are_named_without_their_values() -> None:
    """A part of the name is enough, as in contrib."""
    traced = traced_with(
        captured_request_headers=("x-.*",),
        captured_response_headers=("set-cookie",),
        sanitized_headers=("SESSION", "set-cookie"),
    )
    with traced.browser() as http:
        http.get("/x", headers={"x-session-id": "secret", "x-tenant": "blue"})
    assert captured(traced) == {
        "http.request.header.x-session-id": (HIDDEN,),
        "http.request.header.x-tenant": ("blue",),
        "http.response.header.set-cookie": (HIDDEN, HIDDEN),
    }


def test_credentials_are_hidden_from_wide_patterns() -> None:
    """Only their own names show their values."""
    traced = traced_with(captured_request_headers=("Cookie", ".*"), captured_response_headers=(".*cookie",))
    with traced.browser(cookies={"a": "1"}) as http:
        http.get("/x", headers={"authorization": "Bearer secret", "proxy-authorization": "secret"})
    found = captured(traced)
    assert found["http.request.header.authorization"] == (HIDDEN,)
    assert found["http.request.header.proxy-authorization"] == (HIDDEN,)
    assert found["http.request.header.cookie"] == ("a=1",)
    assert found["http.response.header.set-cookie"] == (HIDDEN, HIDDEN)


def test_headers_of_a_websocket_are_captured() -> None:
    """Those of its handshake, and of the acceptance."""
    traced = traced_with(captured_request_headers=("x-tenant",), captured_response_headers=("x-shard",))
    with traced.browser() as http, http.websocket_connect("/ws", headers={"x-tenant": "blue"}):
        pass
    assert captured(traced) == {
        "http.request.header.x-tenant": ("blue",),
        "http.response.header.x-shard": ("8",),
    }


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9) | st.just(b"1" * 10_000))))
def test_any_bytes_of_a_header_are_taken(headers: list[tuple[bytes, bytes]]) -> None:
    """And no more of a value than a span should carry."""
    found = CapturedHeaders("response", (".*", r"[\s\S]*"), (), has_old=True).read(headers)
    assert all(len(text) <= 2_048 for values in found.values() for text in values)  # type: ignore[union-attr]
    names = {f"http.response.header.{key.decode('latin-1').lower()}" for key, _ in headers}
    assert names <= found.keys()


def test_further_query_parameters_are_redacted() -> None:
    """In any case and however they are written, in addition to those of the conventions."""
    traced = traced_with(redacted_query=("Token", "schlüssel"), semconv_opt_in=("http/dup",))
    with traced.browser() as http:
        http.get(
            "/x?token=secret&sig=secret&page=2&TOKEN=secret&%74oken=secret&schl%C3%BCssel=secret&atoken=1"
        )
    (span,) = traced.server_spans
    attributes = span.attributes or {}
    hidden = (
        "token=REDACTED&sig=REDACTED&page=2&TOKEN=REDACTED&%74oken=REDACTED&schl%C3%BCssel=REDACTED&atoken=1"
    )
    assert attributes["url.query"] == hidden
    assert attributes["http.url"] == f"http://testserver/x?{hidden}"
    assert not any("secret" in str(value) for value in attributes.values())


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("%74oken=secret", "%74oken=REDACTED"),
        ("t%6Fken=secret", "t%6Fken=REDACTED"),
        ("q=token&x=%74oken", "q=token&x=%74oken"),
        ("token%3Dsecret", "token%3Dsecret"),
        ("%", "%"),
    ],
)
def test_parameters_are_recognised_however_they_are_encoded(query: str, shown: str) -> None:
    """And nothing else is taken for one."""
    assert QueryRedaction(("token",)).redact(query) == shown


def test_old_attributes_are_left_out_by_default() -> None:
    """And where other conventions are opted in to, or the stable ones alone."""
    for tokens in ((), ("http",), ("database/dup", "gen_ai_latest_experimental")):
        traced = traced_with(semconv_opt_in=tokens)
        with traced.browser() as http:
            http.get("/x")
        assert "http.method" not in (traced.server_spans[0].attributes or {})


@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("127.0.0.1", 80)])
def test_old_attributes_are_those_of_contrib(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its value, so that what was made for it goes on working; the captured headers, too."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    monkeypatch.setattr(Stability, "_initialized", False)
    monkeypatch.setattr(Stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    contrib = OpenTelemetryMiddleware(
        PlainTextResponse("x"),
        tracer_provider=provider,
        exclude_spans=["send", "receive"],
        http_capture_headers_server_request=["x-tenant-id"],
    )
    traced = traced_with(semconv_opt_in=("http/dup",), captured_request_headers=("x-tenant-id",))

    async def behind_server(scope: Scope, receive: Receive, send: Send) -> None:
        app = (
            traced.app if scope["type"] == "lifespan" or "ours" in scope["query_string"].decode() else contrib
        )
        await app({**scope, "server": server, "client": ("10.0.0.1", 5000)}, receive, send)

    with TestClient(behind_server) as http:
        for who in ("ours", "contrib"):
            headers = {"x-tenant-id": "blue", "user-agent": "curl/8", "host": "shop.example"}
            http.get(f"/x?q=tea&who={who}", headers=headers)
    (theirs,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    expected, found = dict(theirs.attributes or {}), dict(traced.server_spans[0].attributes or {})
    expected["http.url"] = str(expected["http.url"]).replace("who=contrib", "who=ours")
    old = {key for key in expected if key.startswith(("http.", "net."))} - {"http.request.method"}
    assert {"http.method", "http.target", "http.status_code", "net.peer.ip", "net.peer.port"} <= old
    assert {key: found.get(key) for key in old} == {key: expected[key] for key in old}
    assert found["http.request.header.x-tenant-id"] == ("blue",)


def test_address_of_a_unix_socket_has_an_old_name_too() -> None:
    """Without a port."""
    traced = traced_with(semconv_opt_in=("http/dup",))

    async def behind_server(scope: Scope, receive: Receive, send: Send) -> None:
        await traced.app({**scope, "server": ("/run/shop.sock", None), "client": None}, receive, send)

    with TestClient(behind_server) as http:
        http.get("/x")
    attributes = traced.server_spans[0].attributes or {}
    assert attributes["http.host"] == "/run/shop.sock"
    assert not {"net.host.port", "net.peer.ip", "net.peer.port"} & attributes.keys()


def test_answer_is_sent_whatever_its_headers_are(caplog: pytest.LogCaptureFixture) -> None:
    """A defect of the capture is this library's, not the application's."""
    traced = traced_with(captured_response_headers=(".*",))
    sent: list[Message] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [("text", "is wrong")]})
        await send({"type": "http.response.body", "body": b""})

    async def serve() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/raw/", "headers": [], "query_string": b""}
        await traced.app(scope, None, send)  # type: ignore[arg-type]

    traced.app.mount("/raw", answer)
    anyio.run(serve)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert "recording a request failed" in caplog.text
    assert (traced.server_spans[0].attributes or {})["http.response.status_code"] == 200


def test_long_names_of_headers_are_not_remembered() -> None:
    """A client may send any, and many."""
    headers = CapturedHeaders("request", (".*",), (), has_old=False)
    name = b"x" * 60_000
    assert list(headers.read([(name, b"1"), (b"short", b"2")]).values()) == [("1",), ("2",)]
    assert headers._attributes_of.cache_info().currsize == 1
