"""Paths that are neither traced nor counted: the library's own pages and `TELEMETRY_EXCLUDED_URLS`."""

from collections.abc import Iterable

from starlette.types import Scope

from .template import path_below


class ExcludedPaths:
    """A set of exact paths and of prefixes written with a trailing `*`."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._exact = frozenset(path for path in self._paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in self._paths if path.endswith("*"))

    def covers(self, scope: Scope) -> bool:
        """Whether a request is for one of them, below the mount point of its application."""
        root_path = scope.get("root_path")
        path = path_below(scope["path"], root_path) if root_path else scope["path"]
        return path in self._exact or (bool(self._prefixes) and path.startswith(self._prefixes))
