"""Which paths are excluded, and what the path of a request is."""

import pytest

from telemetry.request.excluded import ExcludedPaths

EXCLUDED = ExcludedPaths(("/metrics", "/health/telemetry", "/internal/*", "/a.b"))


@pytest.mark.parametrize(
    ("path", "is_excluded"),
    [
        ("/metrics", True),
        ("/metrics/x", False),
        ("/internal/", True),
        ("/internal/x", True),
        ("/internal", False),
        ("/a.b", True),
        ("/aXb", False),
    ],
)
def test_exact_paths_and_prefixes(path: str, is_excluded: bool) -> None:
    """An excluded path matches exactly unless it ends with a star."""
    assert EXCLUDED.covers({"path": path}) is is_excluded


@pytest.mark.parametrize(
    ("path", "root", "is_excluded"),
    [
        ("/metrics", "", True),
        ("/shop/metrics", "/shop", True),
        ("/shop/metrics", "/shop/", True),
        ("/shop/internal/x", "/shop", True),
        ("/shop/metrics", "", False),
        ("/shopping/metrics", "/shop", False),
    ],
)
def test_path_is_the_one_below_the_mount_point(path: str, root: str, is_excluded: bool) -> None:
    """A proxy's prefix does not hide an excluded path."""
    assert EXCLUDED.covers({"path": path, "root_path": root}) is is_excluded
