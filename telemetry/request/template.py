"""The route template of a request, such as `/v1/items/{item_id}`: one for span names and metric labels alike.

It is the whole template as the client sees it (semantic conventions, `http.route`): the server's root path
and the prefixes of routers and mounts are part of it, and values never are. It is read once the application
has answered, from what the routers left in the scope, so a request is matched once.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.routing import Host, Mount
from starlette.types import Scope

from .excluded import path_of

UNKNOWN_MOUNT = "/{mount}"
"""Stands for mounts whose template cannot be told; their path may hold values."""
_MOST_KNOWN = 1_000


class RouteTemplates:
    """The templates of one application's routes. Thread-safe."""

    def __init__(self) -> None:
        self._mounts: dict[str, str] = {}
        """Templates of mounts by the path that they matched; emptied when it is full."""

    def of(self, scope: Scope, root_path: str, app: Any) -> str | None:
        """Returns the template of the route that served the request; None if none matched.

        A request that a mounted application serves, such as `StaticFiles`, has the mount's path if that
        application has no routes of its own, or none that matches.

        Args:
            scope: the scope after the application has used it.
            root_path: the scope's `root_path` before that.
            app: the application whose router got the scope.
        """
        mounted = _mounted_path(scope, root_path)
        route = _selected(scope)
        own = "" if route is None or isinstance(route, Mount | Host) else getattr(route, "path", None)
        if not isinstance(own, str) or not (mounted or own):
            return None
        return root_path.rstrip("/") + self._template_of_mounts(mounted, app) + own

    def _template_of_mounts(self, path: str, app: Any) -> str:
        if not path:
            return ""
        known = self._mounts.get(path)
        if known is None:
            known = _template_of_mounts(path, getattr(app, "routes", ()))
            if known is None:
                return UNKNOWN_MOUNT
            if len(self._mounts) >= _MOST_KNOWN:
                self._mounts.clear()
            self._mounts[path] = known
        return known


def _mounted_path(scope: Scope, root_path: str) -> str:
    """Returns the path that mounts matched, with its values."""
    inner: str = scope.get("root_path", "")
    return inner.removeprefix(root_path) if inner.startswith(root_path) else inner


def _selected(scope: Scope) -> Any:
    """Returns the innermost matched route, with its routers' prefixes in its path."""
    route = scope.get("route")
    details = scope.get("fastapi")
    context = details.get("effective_route_context") if isinstance(details, Mapping) else None
    if context is not None and (context.original_route is route or not hasattr(route, "path")):
        # FastAPI from 0.142 on keeps included routers apart; the route itself lacks their prefixes.
        return context.starlette_route or context
    if route is None and "endpoint" in scope:
        # FastAPI for routes of Starlette, and Starlette below 1.0, name the endpoint alone, which may have
        # several routes. That of a mount which has been entered is not among the inner application's.
        path = path_of(scope)
        candidates = getattr(scope.get("app"), "routes", ())
        return next((each for each in candidates if _may_be(each, scope["endpoint"], path)), None)
    return route


def _may_be(route: Any, endpoint: Any, path: str) -> bool:
    if endpoint not in (getattr(route, "endpoint", None), getattr(route, "app", None)):
        return False
    regex = getattr(route, "path_regex", None)
    # A mount's own path has gone from the path that is left.
    return isinstance(route, Mount) or regex is None or regex.match(path) is not None


def _template_of_mounts(path: str, routes: Iterable[Any]) -> str | None:
    """Finds the mounts, one in another, that match this path and no more of it."""
    for route in _mounts_among(routes):
        if isinstance(route, Host):
            rest, template = path, ""
        else:
            match = route.path_regex.match(f"{path}/")
            if match is None:
                continue
            rest, template = f"/{match['path']}".rstrip("/"), route.path
        inner = "" if not rest else _template_of_mounts(rest, _routes_of(route))
        if inner is not None:
            return str(template) + inner
    return None


def _routes_of(mount: Mount | Host) -> Iterable[Any]:
    # A mount may be mounted itself, without a router around it.
    return [mount.app] if isinstance(mount.app, Mount | Host) else mount.routes


def _mounts_among(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        if isinstance(route, Mount | Host):
            yield route
        elif hasattr(route, "effective_route_contexts"):
            contexts = route.effective_route_contexts()
            yield from _mounts_among(each.starlette_route or each.original_route for each in contexts)
