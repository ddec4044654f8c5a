"""Thresholds of consistent sampling and their encoding in `tracestate`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import TraceState

from telemetry.tracing.threshold import (
    ALL,
    NONE,
    encode_threshold,
    randomness_of,
    threshold_of,
    with_threshold,
)

RATIOS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("ratio", "written"), [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.1, "e6666666666666"), (2**-56, "f" * 14)]
)
def test_thresholds_are_written_as_the_specification_does(ratio: float, written: str) -> None:
    """Thresholds have at most fourteen hexadecimal digits, without trailing zeros."""
    assert encode_threshold(threshold_of(ratio)) == written


@given(ratio=RATIOS)
def test_threshold_keeps_the_ratio(ratio: float) -> None:
    """The share of all 2^56 random values that reach the threshold is the ratio, up to rounding."""
    assert ALL <= threshold_of(ratio) <= NONE
    assert (NONE - threshold_of(ratio)) / NONE == pytest.approx(ratio, abs=2**-52)


@given(threshold=st.integers(ALL, NONE - 1))
def test_a_written_threshold_can_be_read_back(threshold: int) -> None:
    """Padding with zeros restores the value."""
    assert int(encode_threshold(threshold).ljust(14, "0"), 16) == threshold


@pytest.mark.parametrize(
    ("state", "randomness"),
    [
        (None, 0xABCDEF01234567),
        ("", 0xABCDEF01234567),
        ("vendor=1", 0xABCDEF01234567),
        ("ot=rv:6e6d1a75832a2f", 0x6E6D1A75832A2F),
        ("vendor=1,ot=th:8;rv:6e6d1a75832a2f;x:y", 0x6E6D1A75832A2F),
        ("ot=rv:6e6d1a", 0xABCDEF01234567),
        ("ot=rv:6E6D1A75832A2F", 0xABCDEF01234567),
        ("ot=rv:+e6d1a75832a2f", 0xABCDEF01234567),
    ],
)
def test_random_bits_are_the_written_ones_else_the_trace_ids_last_56(
    state: str | None, randomness: int
) -> None:
    """An `rv` that is not exactly fourteen lower-case hexadecimal digits is ignored."""
    found = None if state is None else TraceState.from_header([state])
    assert randomness_of(0x11223344556677_88_99_ABCDEF01234567, found) == randomness


@pytest.mark.parametrize(
    ("before", "threshold", "after"),
    [
        ("", 1 << 55, "ot=th:8"),
        ("", None, None),
        ("vendor=1", 1 << 55, "ot=th:8,vendor=1"),
        ("vendor=1", None, "vendor=1"),
        ("vendor=1,ot=th:c", None, "vendor=1"),
        ("vendor=1,ot=rv:6e6d1a75832a2f;th:c;x:y", ALL, "ot=th:0;rv:6e6d1a75832a2f;x:y,vendor=1"),
        ("ot=rv:6e6d1a75832a2f;th:c", None, "ot=rv:6e6d1a75832a2f"),
    ],
)
def test_only_the_threshold_is_replaced(before: str, threshold: int | None, after: str | None) -> None:
    """Other vendors' members stay, and the changed member goes first (W3C Trace Context)."""
    written = with_threshold(TraceState.from_header([before]), threshold)
    assert (None if written is None else written.to_header()) == after


def test_a_full_state_loses_its_last_member_only() -> None:
    """The limit is 32 members; the API would drop all members of a longer state."""
    full = TraceState([(f"v{number}", "1") for number in range(32)])
    written = with_threshold(full, ALL)
    assert written is not None
    assert list(written) == ["ot", *(f"v{number}" for number in range(31))]


def test_a_long_member_gives_way_to_the_threshold() -> None:
    """A value has at most 256 characters; the API would drop a longer one entirely."""
    written = with_threshold(TraceState([("ot", "x:" + "y" * 250)]), threshold_of(0.1))
    assert written is not None
    assert written["ot"] == "th:e6666666666666"


def test_random_bits_are_not_what_gives_way() -> None:
    """Without them, later samplers would decide by other bits than the one that kept the trace."""
    rv = "rv:6e6d1a75832a2f"
    written = with_threshold(TraceState([("ot", f"x:{'y' * 230};{rv}")]), threshold_of(0.1))
    assert written is not None
    assert written["ot"] == f"th:e6666666666666;{rv}"
