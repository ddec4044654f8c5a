"""Whatever a server, a client and an application do: telemetry changes nothing, and sees one request."""

import copy
from contextvars import copy_context
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Receive, Scope, Send
from support import asgi_scripts as asgi
from support.asgi_scripts import Script, play
from support.conformance.app import build_guarded, build_shop
from support.conformance.driver import Shape, outcome
from support.conformance.shapes import SHAPES
from support.traced_app import TracedApp, quiet_config

from telemetry.request.excluded import ExcludedPaths
from telemetry.request.middleware import TelemetryMiddleware

RUNS = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
STARTS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}


@pytest.fixture
def traced() -> TracedApp:
    """A client whose spans are kept."""
    return TracedApp()


@pytest.fixture
def naming() -> TracedApp:
    """A client that names the trace in its answers."""
    return TracedApp(config=quiet_config(trace_response=True))


def fresh(scope: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy, whose headers can be read once if they are marked so."""
    scope = copy.copy(scope)
    if isinstance(scope.get("headers"), frozenset):
        scope["headers"] = iter(sorted(scope["headers"]))
    return scope


def alone(app: ASGIApp) -> ASGIApp:
    """Puts nothing around an application."""
    return app


def measured(traced: TracedApp) -> Any:
    """Returns what puts telemetry around an application, and checks the context inside and after it."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def inside(scope: Scope, receive: Receive, send: Send) -> None:
            is_measured = scope["type"] in {"http", "websocket"} and scope["path"] != "/live"
            assert get_current_span().is_recording() == is_measured
            await app(scope, receive, send)

        middleware = TelemetryMiddleware(inside, client=traced.client, excluded=ExcludedPaths(("/live",)))

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            before = dict(copy_context())
            try:
                await middleware(scope, receive, send)
            finally:
                assert dict(copy_context()) == before

        return call

    return wrap


@RUNS
@given(script=asgi.scripts, scope=asgi.scopes)
def test_server_and_application_see_the_same(
    script: Script, scope: dict[str, Any], traced: TracedApp
) -> None:
    """Every message, exception and value of the scope, whatever they do to each other."""
    before = len(traced.server_spans)
    with_it = play(script, fresh(scope), measured(traced))
    without = play(script, fresh(scope), alone)
    if isinstance(scope.get("headers"), frozenset):  # Starlette makes a list of them, too
        without.scope["headers"] = without.scope["headers"][1:]
    assert with_it == without
    assert len(traced.server_spans) == before + 1


@RUNS
@given(script=asgi.scripts, scope=asgi.scopes)
def test_answer_gets_the_name_of_its_trace_and_nothing_else(
    script: Script, scope: dict[str, Any], naming: TracedApp
) -> None:
    """Once, after its other headers, where the application has not named one."""
    with_it = play(script, fresh(scope), measured(naming))
    without = play(script, fresh(scope), alone)
    context = naming.server_spans[-1].context
    name = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
    for message in without.sent:
        if isinstance(message, dict) and message.get("type") in STARTS:
            given_headers = message.get("headers", ())
            if given_headers is None or not all(given_headers):
                continue  # not ASGI's: it is left to the server
            given_headers = [pair for pair in given_headers if pair != "read once"]
            if not any(pair[0] == b"traceresponse" for pair in given_headers):
                given_headers.append((b"traceresponse", name))
            message["headers"] = given_headers
    assert with_it.sent == without.sent
    assert (with_it.received, with_it.raised) == (without.received, without.raised)


@settings(RUNS, max_examples=100)
@given(script=asgi.scripts, scope=asgi.scopes)
def test_excluded_request_sees_the_same(script: Script, scope: dict[str, Any], traced: TracedApp) -> None:
    """It passes through, and leaves no context behind either."""
    scope = {**scope, "path": "/live", "root_path": ""}
    with_it = play(script, fresh(scope), measured(traced))
    without = play(script, fresh(scope), alone)
    assert with_it == without
    assert traced.spans == ()


@pytest.mark.parametrize("kind", ["lifespan", "later"])
def test_scopes_of_other_kinds_pass(kind: str, traced: TracedApp) -> None:
    """Untouched, and without a span."""
    script = Script(steps=[{"type": "lifespan.startup.complete"}, None, 0])
    scope = {"type": kind, "state": {}}
    assert play(script, scope, measured(traced)) == play(script, dict(scope), alone)
    assert scope == {"type": kind, "state": {}}
    assert traced.spans == ()


TARGETS = st.one_of(
    st.sampled_from(
        [shape.target for shape in SHAPES if "forever" not in shape.target and len(shape.target) < 99]
    ),
    st.text("/abcitems%2F.é ", max_size=12),
)


@pytest.fixture(params=[build_shop, build_guarded])
def both(request: Any) -> tuple[FastAPI, FastAPI]:
    """The same application, with telemetry and without."""
    return TracedApp(request.param()).app, request.param()


@settings(RUNS, max_examples=100)
@given(
    target=TARGETS,
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "DELETE", "BREW"]),
    scope=st.fixed_dictionaries(
        {"root_path": st.sampled_from(["", "/", "/api", "/api/", "/inner", "é"])},
        optional={"path": asgi.texts, "client": st.none(), "server": st.none(), "http_version": st.just("2")},
    ),
    headers=st.lists(st.tuples(st.sampled_from([b"x-guard", b"origin"]), st.binary(max_size=9)), max_size=3),
    fails=st.one_of(st.none(), st.integers(0, 2)),
)
def test_clients_of_an_application_see_the_same(both: tuple[FastAPI, FastAPI], **request: Any) -> None:
    """Through the routers and middlewares of FastAPI, and ours among them."""
    shape = Shape("any", headers=tuple(request.pop("headers")), **request)
    path = shape.full_scope["path"]
    assume("/metrics" not in path and "/health" not in path)  # those pages are ours
    traced, without = both
    assert outcome(traced, shape) == outcome(without, shape)
