"""Hooks: the application's own word on its server spans, which can break nothing."""

from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import Span
from starlette.types import Message, Scope
from support.traced_app import TracedApp, quiet_config

from telemetry.telemetry import setup_telemetry


def note_tenant(span: Span, scope: Scope) -> None:
    """Adds a header's value, as an application might."""
    span.set_attribute("tenant", dict(scope["headers"]).get(b"x-tenant", b"").decode())


def note_item(span: Span, scope: Scope, message: Message) -> None:
    """Adds what the router found, and what the answer is."""
    span.set_attribute("item", scope.get("path_params", {}).get("item_id", "none"))
    span.set_attribute("answer", message["type"])


def traced_with(**options: Any) -> TracedApp:
    """Returns an application with a route, a failing one and a WebSocket, set up with these options."""
    app = FastAPI()
    app.get("/items/{item_id}")(lambda item_id: item_id)
    app.get("/broken")(lambda: 1 / 0)

    @app.websocket("/ws/{item_id}")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    config = quiet_config(**options.pop("settings", {}))
    return TracedApp(app, config, **options)


def test_hooks_add_attributes() -> None:
    """Before the application gets the request, and when its answer begins."""
    traced = traced_with(server_request_hook=note_tenant, server_response_hook=note_item)
    with traced.browser() as http:
        http.get("/items/7", headers={"x-tenant": "blue"})
        http.get("/broken")
        with http.websocket_connect("/ws/8"):
            pass
    found = [
        tuple((span.attributes or {}).get(key) for key in ("tenant", "item", "answer"))
        for span in traced.server_spans
    ]
    assert found == [
        ("blue", "7", "http.response.start"),
        ("", "none", "http.response.start"),
        ("", "8", "websocket.accept"),
    ]


def test_hooks_failure_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """One hook's failure leaves the other one, too."""

    def fail(span: Span, scope: Scope) -> None:
        raise LookupError("of the application")

    traced = traced_with(server_request_hook=fail, server_response_hook=note_item)
    with traced.browser() as http:
        answers = [http.get("/items/7").json() for _ in range(3)]
    assert answers == ["7"] * 3
    assert [(span.attributes or {})["item"] for span in traced.server_spans] == ["7"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "server_request_hook failed; further failures are not logged"
    ]
    assert not any(span.events or not span.status.is_ok for span in traced.server_spans)


def test_hooks_are_not_called_for_what_is_not_recorded() -> None:
    """Neither for unsampled requests, nor for excluded ones."""
    called: list[str] = []

    def note(span: Span, scope: Scope, *_: Message) -> None:
        called.append(scope["path"])

    for settings in ({"sampler": "always_off"}, {"excluded_urls": ("/items/*",)}, {"sdk_disabled": True}):
        traced = traced_with(settings=settings, server_request_hook=note, server_response_hook=note)
        with traced.browser() as http:
            assert http.get("/items/7").status_code == 200
            http.get("/metrics")
    assert called == []


def test_hooks_see_the_server_span_that_others_made() -> None:
    """That of a middleware around the application is the request's."""
    traced = traced_with(server_request_hook=note_tenant, server_response_hook=note_item)
    provider = traced.client.tracer_provider
    around = OpenTelemetryMiddleware(traced.app, tracer_provider=provider, exclude_spans=["send", "receive"])
    with TestClient(around) as http:
        http.get("/items/7", headers={"x-tenant": "blue"})
    (span,) = traced.server_spans
    assert {"tenant": "blue", "item": "7"}.items() <= dict(span.attributes or {}).items()


@pytest.mark.parametrize("name", ["server_request_hook", "server_response_hook"])
def test_hook_that_cannot_be_called_is_refused(name: str) -> None:
    """At once, not at the first request; nothing awaits an asynchronous one."""

    async def asynchronous(*_: object) -> None:
        """Does nothing."""

    app = FastAPI()
    for hook in (asynchronous, "note_tenant"):
        with pytest.raises(TypeError, match=f"{name}=.* must be a function without async"):
            setup_telemetry(app, quiet_config(), **{name: hook})  # type: ignore[arg-type]
    assert not hasattr(app.state, "telemetry")


def test_hooks_of_a_second_call_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """As its configuration; a warning says so."""
    traced = traced_with()
    setup_telemetry(traced.app, server_request_hook=note_tenant)
    assert "called again with another configuration or other hooks" in caplog.text
    with traced.browser() as http:
        http.get("/items/7")
    assert "tenant" not in (traced.server_spans[0].attributes or {})
