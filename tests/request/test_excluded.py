"""The middleware and OpenTelemetry's instrumentation exclude the same paths."""

import re

from hypothesis import given
from hypothesis import strategies as st

from telemetry.request.excluded import ExcludedPaths

EXCLUDED = ExcludedPaths(("/metrics", "/health/telemetry", "/internal/*", "/a.b"))

paths = st.lists(
    st.sampled_from(["metrics", "health", "telemetry", "internal", "a.b", "aXb", "x"]), max_size=3
)


@given(paths, st.booleans(), st.sampled_from(["", "?q=/metrics", "?/internal/"]))
def test_patterns_of_whole_urls_agree_with_the_paths(parts: list[str], has_slash: bool, query: str) -> None:
    """URL patterns and paths express one rule."""
    path = "/" + "/".join(parts) + ("/" if has_slash and parts else "")
    patterns = EXCLUDED.as_url_patterns().split(",")
    by_url = any(re.search(pattern, f"http://127.0.0.1:8000{path}{query}") for pattern in patterns)
    assert by_url is (path in EXCLUDED)


def test_exact_paths_and_prefixes() -> None:
    """An excluded path matches exactly unless it ends with a star."""
    assert [
        path in EXCLUDED for path in ("/metrics", "/metrics/x", "/internal/", "/internal/x", "/internal")
    ] == [
        True,
        False,
        True,
        True,
        False,
    ]
