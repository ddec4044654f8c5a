"""The breaker settings' validation and defaults."""

import math
from collections.abc import Callable

import pytest

from telemetry.export.breaker import (
    BreakerSettings,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_threshold", 0),
        ("minimum_calls", 0),
        ("probes", 0),
        ("window_seconds", 0),
        ("open_seconds", -1),
        ("lease_seconds", 0),
        ("lease_seconds", math.inf),
        ("open_seconds", math.nan),
        ("failure_rate", 0),
        ("failure_rate", 1.1),
        ("open_max_seconds", 1),
    ],
)
def test_bad_setting_is_named_with_its_value(field: str, value: float) -> None:
    """The error names the field, the rule and the value."""
    with pytest.raises(ValueError, match=rf"{field} must be .*{value}"):
        BreakerSettings(**{field: value})  # type: ignore[arg-type]


def test_defaults_are_the_documented_ones() -> None:
    """The defaults match the configuration table."""
    settings: Callable[[str], object] = BreakerSettings().__getattribute__
    assert [
        settings(name) for name in ("failure_threshold", "window_seconds", "failure_rate", "minimum_calls")
    ] == [
        3,
        30.0,
        0.5,
        5,
    ]
    assert [settings(name) for name in ("open_seconds", "open_max_seconds", "probes")] == [2.0, 60.0, 1]
