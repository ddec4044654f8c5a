"""Paths that are neither traced nor counted: the library's own pages and `TELEMETRY_EXCLUDED_URLS`."""

import re
from collections.abc import Iterable


class ExcludedPaths:
    """A set of exact paths and of prefixes written with a trailing `*`."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._exact = frozenset(path for path in self._paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in self._paths if path.endswith("*"))

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and (path in self._exact or path.startswith(self._prefixes))

    def as_url_patterns(self) -> str:
        """Returns the set in the form that OpenTelemetry instrumentations take: regexes of whole URLs."""
        return ",".join(
            rf"^\w+://[^/]+{re.escape(path.removesuffix('*'))}" + ("" if path.endswith("*") else r"(?:\?|$)")
            for path in self._paths
        )
