"""Which paths are excluded, and what the path of a request is."""

import pytest

from telemetry.request.excluded import ExcludedPaths, path_of

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
    assert (path in EXCLUDED) is is_excluded


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [("/live", "", "/live"), ("/shop/live", "/shop", "/live"), ("/shopping", "/shop", "/shopping")],
)
def test_path_is_the_one_below_the_mount_point(path: str, root: str, expected: str) -> None:
    """A proxy's prefix does not hide an excluded path."""
    assert path_of({"path": path, "root_path": root}) == expected
