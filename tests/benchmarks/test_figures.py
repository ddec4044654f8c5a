"""The benchmark's arithmetic on samples with known answers."""

import pytest

from benchmarks.figures import Figure, bootstrap


def test_ratio_is_the_median_of_paired_ratios() -> None:
    """The ratio is taken pair by pair, since each pair was measured side by side."""
    figure = Figure("x", "ratio", ours=[1, 10, 3], stock=[2, 10, 4], target=0.8)
    assert figure.samples == [0.5, 1.0, 0.75]
    assert figure.value == 0.75
    assert figure.is_reached


@pytest.mark.parametrize(
    ("target", "is_at_most", "is_reached"),
    [(2.0, True, True), (1.9, True, False), (2.0, False, True), (2.1, False, False)],
)
def test_target_is_a_bound_on_the_median(target: float, is_at_most: bool, is_reached: bool) -> None:
    """The bound is from above or from below, and inclusive."""
    figure = Figure("x", "s", ours=[1, 2, 9], stock=(), target=target, is_at_most=is_at_most)
    assert figure.is_reached is is_reached


def test_interval_must_reach_its_bound_too() -> None:
    """A median within its target is not enough when the whole interval lies above its bound."""
    samples = [1.10, 1.11, 1.12, 1.13, 1.12]
    assert Figure("x", "ratio", samples, [1.0] * 5, 1.15).is_reached
    assert not Figure("x", "ratio", samples, [1.0] * 5, 1.15, bound_of_interval=1.05).is_reached
    assert Figure("x", "ratio", [*samples, 0.9, 0.9, 1.0], [1.0] * 8, 1.15, bound_of_interval=1.05).is_reached


def test_pairs_must_be_pairs() -> None:
    """A missing sample is an error, not a shorter list."""
    with pytest.raises(ValueError, match="zip"):
        _ = Figure("x", "ratio", [1, 2], [1], 1).samples


def test_bootstrap_holds_the_median_and_narrows_with_samples() -> None:
    """The interval is also the same for the same samples."""
    few, many = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0] * 20
    low, high = bootstrap(few)
    assert low < 3.0 < high
    assert bootstrap(few) == (low, high)
    narrow_low, narrow_high = bootstrap(many)
    assert narrow_high - narrow_low < high - low
    assert bootstrap([7.0]) == (7.0, 7.0)
