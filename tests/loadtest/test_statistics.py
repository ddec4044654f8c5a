"""The lab's arithmetic, on data whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadtest.statistics import (
    bootstrap_median,
    bootstrap_ratio,
    clopper_pearson,
    fit_line,
    knee,
    pareto_front,
    percentile,
    queue_needed,
    ratios_to_control,
)


def random() -> np.random.Generator:
    """Returns a generator that always makes the same draws."""
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # From the published tables of the exact method.
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (81, 263, 0.2527, 0.3676)],
)
def test_shares_have_exact_intervals(successes: int, trials: int, low: float, high: float) -> None:
    """They exist even where nothing, or everything, was a success."""
    found = clopper_pearson(successes, trials)
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 10), (11, 10), (0, 0)])
def test_what_is_no_share_is_refused(successes: int, trials: int) -> None:
    """An error is raised rather than returning a meaningless interval."""
    with pytest.raises(ValueError, match="is not a share"):
        clopper_pearson(successes, trials)


def test_intervals_of_a_share_cover_it() -> None:
    """An exact interval covers it in at least 95 of 100 experiments."""
    draws = random().binomial(500, 0.1, size=400)
    covered = sum(
        clopper_pearson(int(drawn), 500).low <= 0.1 <= clopper_pearson(int(drawn), 500).high
        for drawn in draws
    )
    assert covered >= 0.95 * len(draws)


def test_interval_of_a_median_covers_it_and_shrinks() -> None:
    """It covers it in about 93 of 100 experiments (known of this method), and narrows with more values."""
    draws, covered, widths = random(), 0, {20: 0.0, 200: 0.0}
    for _ in range(200):
        for size in widths:
            found = bootstrap_median(draws.normal(10, 1, size).tolist(), random=draws, resamples=400)
            covered += found.low <= 10 <= found.high
            widths[size] += found.high - found.low
    assert covered >= 0.88 * 400
    assert widths[200] < widths[20] / 2


def test_one_value_is_its_own_interval() -> None:
    """Its spread is unknown, and none is made up."""
    found = bootstrap_median([3.0], random=random())
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_ratio_of_percentiles_is_found(factor: float) -> None:
    """The interval covers 1 for equal distributions, and 2 for doubled values."""
    draws = random()
    earlier = [draws.exponential(1, size=50).tolist() for _ in range(60)]
    later = [(draws.exponential(1, size=50) * factor).tolist() for _ in range(60)]
    found = bootstrap_ratio(later, earlier, percentile(50), random=random())
    assert found.value == pytest.approx(factor, rel=0.1)
    assert found.low <= factor <= found.high
    assert found.high - found.low < 0.5 * factor


def test_blocks_that_move_together_widen_the_interval() -> None:
    """A few bad seconds are one piece of evidence each, not fifty."""
    draws = random()
    together = [[float(level)] * 50 for level in draws.exponential(1, size=20)]
    apart = draws.exponential(1, size=(20, 50)).tolist()

    def width(blocks: list[list[float]]) -> float:
        found = bootstrap_ratio(blocks, blocks, percentile(50), random=random())
        return found.high - found.low

    assert width(together) > 3 * width(apart)


def test_ratio_of_nothing_is_refused() -> None:
    """Empty seconds are left out; with none left there is no ratio."""
    with pytest.raises(ValueError, match="no values on one side"):
        bootstrap_ratio([[1.0]], [[], []], percentile(99), random=random())


@given(
    fixed=st.floats(0, 100),
    each=st.floats(0, 10),
    sizes=st.lists(st.integers(1, 2_000), min_size=2, max_size=20, unique=True),
)
def test_a_line_is_found_where_there_is_one(fixed: float, each: float, sizes: list[int]) -> None:
    """The fit reproduces the line, without residuals."""
    line = fit_line(sizes, [fixed + each * size for size in sizes])
    scale = max(1.0, fixed + each * max(sizes))
    assert line.at(max(sizes)) == pytest.approx(fixed + each * max(sizes), abs=1e-6 * scale)
    assert max(map(abs, line.residuals)) <= 1e-6 * scale


def test_residuals_show_what_the_line_misses() -> None:
    """They are measured minus fitted values."""
    line = fit_line([0, 1, 2, 3], [1, 3, 1, 3])
    assert line.residuals == pytest.approx((-0.4, 1.2, -1.2, 0.4))
    assert line.r_squared == pytest.approx(0.2)


def test_no_part_of_a_cost_is_negative() -> None:
    """An export is never free, nor cheaper for being larger."""
    assert fit_line([1, 2, 3], [0, 2, 4]).fixed == 0
    assert fit_line([1, 2, 3], [3, 2, 1]).each == 0


def test_one_size_is_no_line() -> None:
    """A line needs two different points."""
    with pytest.raises(ValueError, match="two different sizes"):
        fit_line([5, 5], [1, 2])


def test_knee_is_where_the_fixed_part_is_the_waste_allowed() -> None:
    """B >= (a/b)(1-e)/e, checked by substitution."""
    line = fit_line([1, 1_000], [2.01, 12.0])
    size = knee(line, waste=0.2)
    assert line.fixed / line.at(size) == pytest.approx(0.2)
    assert knee(fit_line([1, 2], [1, 2])) == 1
    assert knee(fit_line([1, 2], [3, 3])) == float("inf")


def test_front_is_what_nothing_beats() -> None:
    """Smaller is better in both coordinates; of equal points one is enough."""
    points = [(1, 5), (2, 2), (3, 1), (2, 3), (3, 3), (1, 6), (2, 2)]
    assert {points[index] for index in pareto_front(points)} == {(1, 5), (2, 2), (3, 1)}
    assert pareto_front([]) == []


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=30))
def test_front_beats_everything_else(points: list[tuple[float, float]]) -> None:
    """For each point, one on the front is as good in both coordinates."""
    front = [points[index] for index in pareto_front(points)]
    for point in points:
        assert any(best[0] <= point[0] and best[1] <= point[1] for best in front)


def test_queue_holds_what_comes_until_the_breaker_opens() -> None:
    """It is the peak rate times export and detection time, plus a batch."""
    assert (
        queue_needed(spans_per_second=1_000, export_p99_seconds=0.5, detection_seconds=4, batch=512) == 5_012
    )


def test_ratios_to_a_control_have_students_interval() -> None:
    """With two treatments it is that of the paired t-test, over blocks that all differ."""
    logs = {"old": (1.0, 2.0, 3.0), "new": (1.1, 2.3, 3.2)}
    measured = [(name, block, float(np.exp(it))) for name in logs for block, it in enumerate(logs[name])]
    found = ratios_to_control(measured, "old", confidence=0.95)
    paired = stats.ttest_rel(logs["new"], logs["old"]).confidence_interval(0.95)
    assert np.log([found["new"].value, found["new"].low, found["new"].high]) == pytest.approx(
        [0.2, paired.low, paired.high]
    )
    assert found["old"].value == pytest.approx(1)


def test_intervals_of_ratios_cover_them_however_few_values_there_are() -> None:
    """Three values of each treatment are enough, since the noise is estimated from all."""
    draws, covered = random(), 0
    for _ in range(300):
        measured = [
            (name, block, float(np.exp(name * 0.1 + block + draws.normal(0, 0.05))))
            for name in range(5)
            for block in range(3)
        ]
        found = ratios_to_control(measured, 0, confidence=0.95)[1]
        covered += found.low <= np.exp(0.1) <= found.high
    assert covered >= 0.92 * 300


def test_what_cannot_be_compared_has_no_interval() -> None:
    """Noise cannot be estimated, the control is missing, or no block is shared."""
    assert ratios_to_control([("old", 0, 1.0), ("new", 0, 2.0)], "old", confidence=0.95) == {}
    assert ratios_to_control([("new", 0, 2.0), ("new", 1, 2.0)], "old", confidence=0.95) == {}
    apart = [("old", 0, 1.0), *((name, block, 2.0) for name in ("new", "newer") for block in (1, 2))]
    assert list(ratios_to_control(apart, "old", confidence=0.95)) == ["old"]
