"""The route template: whole, one for span and metrics, for every way to build an application of parts."""

from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from support.traced_app import TracedApp

from telemetry.request.template import RouteTemplates


def answer(request: Request) -> Response:
    """Answers with its path."""
    return PlainTextResponse(request.url.path)


def build_app(folder: Path) -> FastAPI:
    """Builds an application from routers with prefixes, mounts, hosts and files."""
    app = FastAPI()
    inner, users = APIRouter(), APIRouter(prefix="/users")
    inner.get("/{user}/posts/{post}")(lambda user, post: 1)
    users.include_router(inner, prefix="/deep")
    items = APIRouter(prefix="/items")
    items.get("/{item}")(lambda item: 1)
    app.include_router(users, prefix="/v1")
    app.include_router(items, prefix="/v1")
    app.include_router(items, prefix="/v2")

    tenant = FastAPI()
    tenant.include_router(items, prefix="/c1")
    app.mount("/api", tenant)
    app.mount("/tenants/{tenant}/orders/{number:int}", tenant)
    app.mount(
        "/old",
        Starlette(routes=[Route("/{rest:path}", answer), Mount("/deep", routes=[Route("/x", answer)])]),
    )
    same = FastAPI()
    same.include_router(items)
    app.mount("/items/{item}", same)
    app.mount("/two/{a}/{b}", same)
    app.mount("/nested", Mount("/mount", routes=[Route("/{name}", answer)]))

    mounting = APIRouter()
    mounting.mount("/mounted", Starlette(routes=[Route("/{name}", answer)]))
    mounting.add_route("/plain/{name}", answer)
    app.include_router(mounting, prefix="/v3")

    (folder / "style.css").write_text("body {}")
    app.mount("/static", StaticFiles(directory=folder), name="static")
    app.add_route("/starlette/{name}", answer, methods=["GET", "POST"])
    shelves = Mount("/shelves/{shelf}", routes=[Route("/{name}", answer)])
    app.router.routes.append(Host("{shop}.example", Router([Route("/hosted/{name}", answer), shelves])))
    return app


ROUTES = {
    "/v1/users/deep/1/posts/2": "/v1/users/deep/{user}/posts/{post}",
    "/v1/items/3": "/v1/items/{item}",
    "/v2/items/3": "/v2/items/{item}",
    "/api/c1/items/3": "/api/c1/items/{item}",
    "/tenants/acme/orders/7/c1/items/3": "/tenants/{tenant}/orders/{number:int}/c1/items/{item}",
    "/tenants/acme/orders/007/c1/items/acme": "/tenants/{tenant}/orders/{number:int}/c1/items/{item}",
    "/items/5/items/6": "/items/{item}/items/{item}",
    "/two/x/x/items/static": "/two/{a}/{b}/items/{item}",
    "/old/a/b/c": "/old/{rest:path}",
    "/nested/mount/x": "/nested/mount/{name}",
    "/v3/mounted/x": "/v3/mounted/{name}",
    "/v3/plain/x": "/v3/plain/{name}",
    "/static/style.css": "/static",
    "/starlette/x": "/starlette/{name}",
    "/docs": "/docs",
    "/openapi.json": "/openapi.json",
}


@pytest.fixture
def traced(tmp_path: Path) -> TracedApp:
    """The application, traced."""
    return TracedApp(build_app(tmp_path))


def labels_of(http: TestClient) -> set[str]:
    """Returns the routes on /metrics."""
    return {
        sample.labels["route"]
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for sample in family.samples
        if sample.name == "app_request_count_total"
    }


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_template_is_whole_in_span_and_label(path: str, route: str, traced: TracedApp) -> None:
    """Prefixes and mounts are part of it, and values never are."""
    with traced.browser() as http:
        before = labels_of(http)
        assert http.get(path).status_code == 200
        (span,) = traced.server_spans
        assert (span.name, (span.attributes or {})["http.route"]) == (f"GET {route}", route)
        assert labels_of(http) - before <= {route}
        assert route in labels_of(http)


def test_host_is_no_part_of_the_path(traced: TracedApp) -> None:
    """A route below a host has the route's own path."""
    with traced.browser(base_url="http://books.example") as http:
        assert http.get("/hosted/x").status_code == 200
        assert http.get("/shelves/top/x").status_code == 200
    names = ["GET /hosted/{name}", "GET /shelves/{shelf}/{name}"]
    assert [span.name for span in traced.server_spans] == names


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/no/such", 404, "GET"),
        ("GET", "/api/no/such", 404, "GET /api"),
        ("GET", "/static/none.css", 404, "GET /static"),
        ("DELETE", "/v1/items/3", 405, "DELETE /v1/items/{item}"),
        ("BREW", "/v1/items/3", 405, "HTTP /v1/items/{item}"),
    ],
)
def test_refused_request_has_the_route_that_refused_it(
    method: str, path: str, status: int, name: str, traced: TracedApp
) -> None:
    """A request that matches no route has no template."""
    with traced.browser() as http:
        assert http.request(method, path).status_code == status
    (span,) = traced.server_spans
    assert span.name == name
    assert ("http.route" in (span.attributes or {})) == ("/" in name)


def test_root_path_is_part_of_the_template(tmp_path: Path) -> None:
    """As the client sees it: a prefix that a proxy adds, and the server is told of (`http.route`)."""
    traced = TracedApp(build_app(tmp_path))
    with traced.browser(root_path="/shop") as http:
        assert http.get("/shop/v1/items/1").status_code == 200
        assert http.get("/shop/api/c1/items/1").status_code == 200
    assert traced.names == ["GET /shop/v1/items/{item}", "GET /shop/api/c1/items/{item}"]


def test_mount_around_the_application_is_part_of_the_template(tmp_path: Path) -> None:
    """Its values are not, though the application around is not set up."""
    traced = TracedApp(build_app(tmp_path))
    outer = Starlette(routes=[Mount("/tenants/{tenant}", traced.app)])
    with TestClient(outer) as http:
        assert http.get("/tenants/acme/v1/items/7").status_code == 200
        assert http.get("/tenants/acme/api/c1/items/7").status_code == 200
    names = ["GET /tenants/{tenant}/v1/items/{item}", "GET /tenants/{tenant}/api/c1/items/{item}"]
    assert traced.names == names


def test_mounts_of_another_host_are_not_taken_for_the_requests() -> None:
    """Though they match its path, and come first."""
    traced = TracedApp()
    for host, mount in (("a.example", "/{tenant}"), ("b.example", "/v1")):
        router = Router([Mount(mount, routes=[Route("/x", answer)])])
        traced.app.router.routes.append(Host(host, router))
    with traced.browser() as http:
        for host in ("b.example", "a.example", "b.example"):
            assert http.get("/v1/x", headers={"host": host}).status_code == 200
    assert traced.names == ["GET /v1/x", "GET /{tenant}/x", "GET /v1/x"]


def test_mounts_that_cannot_be_told_show_no_value() -> None:
    """A middleware of the application's own may have set the path."""
    scope = {"root_path": "/tenants/acme", "route": Route("/{name}", answer)}
    assert RouteTemplates().of(scope, "", Starlette()) == "/{mount}/{name}"


def test_templates_of_many_mounts_are_bounded() -> None:
    """Whatever paths are asked for."""
    templates = RouteTemplates()
    inner = Route("/{name}", answer)
    app = Starlette(routes=[Host("x.example", Router()), Mount("/tenants/{tenant}", routes=[inner])])
    for number in range(2_500):
        scope = {"type": "http", "headers": [], "root_path": f"/tenants/{number}", "route": inner}
        assert templates.of(scope, "", app) == "/tenants/{tenant}/{name}"
    assert len(templates._mounts) <= 1_000
    long = "x" * 60_000
    scope = {"type": "http", "headers": [], "root_path": f"/tenants/{long}", "route": inner}
    assert templates.of(scope, "", app) == "/tenants/{tenant}/{name}"
    assert not any(long in path for path, _ in templates._mounts)


def test_websocket_has_its_template() -> None:
    """The handshake is a GET."""
    traced = TracedApp()
    router = APIRouter(prefix="/rooms")

    @router.websocket("/{room}")
    async def serve(socket: WebSocket, room: str) -> None:
        await socket.accept()
        await socket.send_text(room)
        await socket.close()

    traced.app.include_router(router, prefix="/v1")
    with traced.browser() as http, http.websocket_connect("/v1/rooms/blue") as socket:
        assert socket.receive_text() == "blue"
    (span,) = traced.server_spans
    assert span.name == "GET /v1/rooms/{room}"
    assert (span.attributes or {})["http.response.status_code"] == 101


def guarded(traced: TracedApp) -> TracedApp:
    """Adds a middleware that answers every request before the router gets it, and a WebSocket's handshake."""

    class Guard:
        """Refuses."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            else:
                await Response(status_code=401)(scope, receive, send)

    traced.app.add_middleware(Guard)
    return traced


@pytest.mark.parametrize(("path", "route"), ROUTES.items())
def test_answer_of_a_middleware_has_the_route_that_was_meant(
    path: str, route: str, traced: TracedApp
) -> None:
    """A refused request counts where the served ones do, whatever the application is made of."""
    with guarded(traced).browser() as http:
        assert http.get(path).status_code == 401
    (span,) = traced.server_spans
    assert (span.name, (span.attributes or {})["http.route"]) == (f"GET {route}", route)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("OPTIONS", "/v1/items/3", "OPTIONS /v1/items/{item}"),
        ("OPTIONS", "/api/c1/items/3", "OPTIONS /api/c1/items/{item}"),
        ("POST", "/starlette/x", "POST /starlette/{name}"),
        ("BREW", "/v1/items/3", "HTTP /v1/items/{item}"),
        ("GET", "/no/such", "GET"),
        ("GET", "/room/1", "GET"),
        ("GET", "/static/none.css", "GET /static"),
    ],
)
def test_middleware_answers_for_other_methods_and_unknown_paths(
    method: str, path: str, name: str, traced: TracedApp
) -> None:
    """A preflight has the route that it asks about; a WebSocket's route is none of a request's."""
    rooms = APIRouter()
    rooms.websocket("/room/{name}")(serve_room)
    traced.app.include_router(rooms)
    with guarded(traced).browser() as http:
        assert http.request(method, path).status_code == 401
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/room/1"):
            pass
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/v1/items/3"):
            pass
    assert traced.names == [name, "GET /room/{name}", "GET"]


async def serve_room(socket: WebSocket, name: str) -> None:
    """Never gets there."""


def test_middleware_answers_below_root_paths_mounts_and_hosts(tmp_path: Path) -> None:
    """The template is the one that the client sees, as when the router answers."""
    traced = guarded(TracedApp(build_app(tmp_path)))
    with traced.browser(root_path="/shop") as http:
        http.get("/shop/v1/items/1")
    with traced.browser(base_url="http://books.example") as http:
        http.get("/hosted/x")
    with traced.browser(base_url="http://books.test") as http:
        http.get("/hosted/x")
    with TestClient(Starlette(routes=[Mount("/tenants/{tenant}", traced.app)])) as http:
        http.get("/tenants/acme/v1/items/7")
    with traced.browser(root_path="/v") as http:
        http.get("/v1/items/7")  # a proxy has stripped the prefix
    assert traced.names == [
        "GET /shop/v1/items/{item}",
        "GET /hosted/{name}",
        "GET",
        "GET /tenants/{tenant}/v1/items/{item}",
        "GET /v/v1/items/{item}",
    ]
