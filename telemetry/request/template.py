"""The route template of a request, such as `/v1/items/{item_id}`: one for span names and metric labels alike.

It is the whole template as the client sees it (semantic conventions, `http.route`): the server's root path
and the prefixes of routers and mounts are part of it, and values never are. It is read once the application
has answered, from what the routers left in the scope, so a request is matched once; one that a middleware
answered before them is matched here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import Host, Match, Mount, Route
from starlette.types import Scope

UNKNOWN_MOUNT = "/{mount}"
"""Stands for mounts whose template cannot be told; their path may hold values."""
_MOST_KNOWN, _LONGEST_KNOWN = 1_000, 512
_PLAIN_ROUTES = frozenset({Route, APIRoute})
"""Classes whose `path` is their template."""
_INNER = (Mount, Host)
"""Classes of routes that lead to further ones."""

_Wanted = Callable[[Any], bool]
"""Whether a route whose path matches is the one; of a mount, whether it is if none of its own routes is."""


def path_below(path: str, root_path: str) -> str:
    """Returns the path below a root path (ASGI: `path` includes `root_path`, but some proxies strip it)."""
    root = root_path.rstrip("/")
    is_below = bool(root) and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}
    return path[len(root) :] if is_below else path


class RouteTemplates:
    """The templates of one application's routes. Thread-safe."""

    def __init__(self) -> None:
        self._mounts: dict[tuple[str, bytes], str] = {}
        """Templates of mounts by the path that they matched and the host; emptied when it is full."""

    def of(self, scope: Scope, root_path: str, app: Any) -> str | None:
        """Returns the template of the route that served the request; None if none matched.

        A request that a mounted application serves, such as `StaticFiles`, has the mount's path if that
        application has no routes of its own, or none that matches.

        Args:
            scope: the scope after the application has used it.
            root_path: the scope's `root_path` before that.
            app: the application whose router got the scope.
        """
        route: Any = scope.get("route")
        details = scope.get("fastapi")
        if details:
            route = _with_prefixes(route, details)
        inner_root = scope.get("root_path") or ""
        if not inner_root and type(route) in _PLAIN_ROUTES:  # as nearly always
            return route.path or None
        mounted = "" if inner_root == root_path else inner_root.removeprefix(root_path)
        root = root_path.rstrip("/")
        if route is None and "endpoint" in scope:
            wanted = partial(_leads_to, scope["endpoint"])
            found = _search(_routes_of(app), path_below(scope["path"], root), wanted)
            if found is not None:
                return (root + found) or None  # a mount at "/" has no path of its own
        own = None if route is None else getattr(route, "path", None)
        if own is None or isinstance(route, _INNER):
            own = ""
        if not isinstance(own, str) or not (mounted or own):
            return None
        return root + self._template_of_mounts(mounted, app, scope) + own if mounted else root + own

    def of_unrouted(self, scope: Scope) -> str | None:
        """Returns the template of the route that a request was meant for; None if none matches.

        Args:
            scope: of a request that a middleware has answered before the application's router got it.
        """
        inner_root = scope.get("root_path") or ""
        root_path = scope.get("app_root_path", inner_root)
        routes = list(_routes_of(scope.get("app")))
        ways = partial(_serves, scope), partial(_serves_otherwise, scope)
        found = _search(routes, path_below(scope["path"], inner_root), *ways)
        if found is None:
            return None
        mounted = inner_root.removeprefix(root_path)
        around = self._template_of_mounts(mounted, scope.get("router"), scope) if mounted else ""
        return (root_path.rstrip("/") + around + found) or None

    def _template_of_mounts(self, path: str, app: Any, scope: Scope) -> str:
        key = path, next((value for name, value in scope.get("headers", ()) if name == b"host"), b"")
        known = self._mounts.get(key)
        if known is None:
            known = _template_of_mounts(path, _routes_of(app), scope)
            if known is None:
                return UNKNOWN_MOUNT
            if len(path) + len(key[1]) <= _LONGEST_KNOWN:
                if len(self._mounts) >= _MOST_KNOWN:
                    self._mounts.clear()
                self._mounts[key] = known
        return known


def _with_prefixes(route: Any, details: Any) -> Any:
    """Returns a matched route with its routers' prefixes in its path.

    Args:
        route: the innermost one.
        details: what FastAPI has noted in the scope.
    """
    context = details.get("effective_route_context") if isinstance(details, Mapping) else None
    if context is not None and (context.original_route is route or not hasattr(route, "path")):
        # FastAPI from 0.142 on keeps included routers apart; the route itself lacks their prefixes.
        return context.starlette_route or context
    return route


def _leads_to(endpoint: Any, route: Any) -> bool:
    """Whether it is the route of an endpoint.

    FastAPI for routes of Starlette, and Starlette below 1.0, put the endpoint alone into the scope.
    """
    return isinstance(route, Host) or endpoint is (
        route.app if isinstance(route, Mount) else getattr(route, "endpoint", None)
    )


def _serves(scope: Scope, route: Any) -> bool:
    """Whether a route serves a request, as Starlette decides it once the path matches."""
    return _serves_otherwise(scope, route) and (
        not getattr(route, "methods", None) or scope.get("method", "GET") in route.methods
    )


def _serves_otherwise(scope: Scope, route: Any) -> bool:
    """Whether a route serves a request, or the same with another method."""
    if isinstance(route, Host):
        return route.matches(scope)[0] is not Match.NONE
    return isinstance(route, Mount) or hasattr(route, "methods") == (scope["type"] == "http")


def _search(routes: Iterable[Any], path: str, *wanted: _Wanted) -> str | None:
    """Finds the template of the route that matches a path and is wanted.

    Args:
        routes: in their order.
        path: below the mounts so far.
        wanted: tried one after another, in each mount anew.
    """
    known = list(_flattened(routes))
    found = (_search_once(known, path, is_wanted, wanted) for is_wanted in wanted)
    return next((each for each in found if each is not None), None)


def _search_once(routes: list[Any], path: str, is_wanted: _Wanted, wanted: tuple[_Wanted, ...]) -> str | None:
    for route in routes:
        if isinstance(route, Host):
            found = _search(_routes_of(route), path, *wanted) if is_wanted(route) else None
        else:
            match = route.path_regex.match(path) if hasattr(route, "path_regex") else None
            if match is None:
                continue
            if isinstance(route, Mount):
                inner = _search(_routes_of(route), f"/{match['path']}", *wanted)
                if inner is None and is_wanted(route):
                    inner = ""
                found = None if inner is None else route.path + inner
            else:
                found = route.path if is_wanted(route) else None
        if found is not None:
            return str(found)
    return None


def _template_of_mounts(path: str, routes: Iterable[Any], scope: Scope) -> str | None:
    """Finds the mounts, one in another, that match this path and no more of it, for the request's host."""
    for route in _flattened(routes):
        if not isinstance(route, _INNER):
            continue
        if isinstance(route, Host):
            if route.matches(scope)[0] is Match.NONE:
                continue
            rest, template = path, ""
        else:
            match = route.path_regex.match(f"{path}/")
            if match is None:
                continue
            rest, template = f"/{match['path']}".rstrip("/"), route.path
        inner = "" if not rest else _template_of_mounts(rest, _routes_of(route), scope)
        if inner is not None:
            return str(template) + inner
    return None


def _routes_of(owner: Any) -> Iterable[Any]:
    """Returns the routes of an application, or of what a mount or a host leads to."""
    inner = getattr(owner, "app", None) if isinstance(owner, _INNER) else None
    # A mount may be mounted itself, without a router around it.
    return [inner] if isinstance(inner, _INNER) else getattr(owner, "routes", ())


def _flattened(routes: Iterable[Any]) -> Iterator[Any]:
    """Yields routes, and those of included routers as FastAPI has made them with their prefixes."""
    for route in routes:
        if hasattr(route, "effective_route_contexts"):
            for each in route.effective_route_contexts():
                yield each.starlette_route or each
        else:
            yield route
