"""The lab's statistics: intervals, fits and knees. Pure functions; random generators are passed in."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Treatment = TypeVar("Treatment", bound=Hashable)
_THOUSAND = 1_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, at the requested confidence (95 % by default)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns the value with its interval in parentheses."""
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"


def short(value: float) -> str:
    """Formats a value with three digits; from a thousand to a billion, as a whole number."""
    return f"{value:.0f}" if _THOUSAND <= abs(value) < _THOUSAND**3 else f"{value:.3g}"


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """Returns a proportion with its exact interval (Clopper and Pearson, 1934), which is never too narrow."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is not a share")
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def bootstrap_median(
    values: Sequence[float], *, random: np.random.Generator, confidence: float = 0.95, resamples: int = 5_000
) -> Estimate:
    """Returns the median with its percentile bootstrap interval; for one value, that is the value itself."""
    sample = np.asarray(values, dtype=float)
    picks = random.integers(0, len(sample), size=(resamples, len(sample)))
    return _estimate(float(np.median(sample)), np.median(sample[picks], axis=1), confidence)


def bootstrap_ratio(
    later: Sequence[Sequence[float]],
    earlier: Sequence[Sequence[float]],
    statistic: Callable[[Array], float],
    *,
    random: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 1_000,
) -> Estimate:
    """Returns the ratio of a statistic, later over earlier values, with its block bootstrap interval.

    Args:
        later: values in blocks, such as the latencies of each second. The values of a block are
            correlated, so blocks are drawn instead of values; else the interval would be too narrow.
        earlier: the blocks of values to compare with.
        statistic: the statistic to compare.
        random: draws the blocks.
        confidence: the interval's confidence.
        resamples: the number of draws.
    """
    blocks = [[np.asarray(block, dtype=float) for block in side if len(block)] for side in (later, earlier)]
    if not all(blocks):
        raise ValueError("there are no values on one side")

    def draw(side: list[Array]) -> float:
        return statistic(np.concatenate([side[pick] for pick in random.integers(0, len(side), len(side))]))

    whole = statistic(np.concatenate(blocks[0])) / statistic(np.concatenate(blocks[1]))
    drawn = np.array([draw(blocks[0]) / draw(blocks[1]) for _ in range(resamples)])
    return _estimate(whole, drawn, confidence)


def ratios_to_control(
    measured: Sequence[tuple[Treatment, int, float]], control: Treatment, *, confidence: float
) -> dict[Treatment, Estimate]:
    """Returns the ratio of each treatment's value to the control's, with Student's t interval.

    Logarithms are fitted as treatment + block. The noise is estimated over all treatments, so that a few
    values of each are enough; with too few to estimate it, or none of the control, the result is empty. A
    treatment that no block links to the control is left out.

    Args:
        measured: the treatment, block (such as the time of day) and value (above 0) of each measurement.
        control: the treatment to compare with.
        confidence: of each interval alone; for m intervals to hold jointly, 1 - (1 - confidence) / m.
    """
    treatments = list(dict.fromkeys(treatment for treatment, _, _ in measured))
    blocks = list(dict.fromkeys(block for _, block, _ in measured))
    design = np.zeros((len(measured), len(treatments) + len(blocks)))
    for row, (treatment, block, _) in enumerate(measured):
        design[row, treatments.index(treatment)] = 1
        design[row, len(treatments) + blocks.index(block)] = 1
    freedom = len(measured) - int(np.linalg.matrix_rank(design)) if measured else 0
    if control not in treatments or not freedom:
        return {}
    logs = np.log([value for _, _, value in measured])
    inverse = np.linalg.pinv(design)
    effects = inverse @ logs
    noise = float(np.sqrt(((logs - design @ effects) ** 2).sum() / freedom))
    critical = float(stats.t.ppf((1 + confidence) / 2, freedom))
    found = {}
    for index, treatment in enumerate(treatments):
        contrast = np.zeros(design.shape[1])
        contrast[index] += 1
        contrast[treatments.index(control)] -= 1
        if np.allclose(contrast @ inverse @ design, contrast):
            value = float(contrast @ effects)
            reach = critical * noise * float(np.linalg.norm(contrast @ inverse))
            found[treatment] = Estimate(*(float(np.exp(value + by)) for by in (0, -reach, reach)))
    return found


def percentile(share: float) -> Callable[[Array], float]:
    """Returns the statistic that computes a percentile, 0 to 100."""
    return lambda values: float(np.percentile(values, share))


@dataclass(frozen=True, slots=True)
class Line:
    """`y = fixed + each * x`."""

    fixed: float
    each: float
    residuals: tuple[float, ...]
    """Measured minus fitted values, in the order of the points."""
    r_squared: float
    """The share of the variation that the line explains."""

    def at(self, x: float) -> float:
        """Returns the line's value at `x`."""
        return self.fixed + self.each * x


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """Fits a least-squares line with neither part below 0: a batch is never cheaper for being larger.

    Raises:
        ValueError: there are fewer than two different x.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(np.unique(xs)) < 2:  # noqa: PLR2004 - two points make a line
        raise ValueError("a line needs two different sizes")
    found = stats.linregress(xs, ys)
    fixed, each = float(found.intercept), float(found.slope)
    if fixed < 0:
        fixed, each = 0.0, float((xs @ ys) / (xs @ xs))
    elif each < 0:
        fixed, each = float(ys.mean()), 0.0
    residuals = ys - (fixed + each * xs)
    spread = float(((ys - ys.mean()) ** 2).sum())
    r_squared = 1.0 - float((residuals**2).sum()) / spread if spread else 1.0
    return Line(fixed, each, tuple(float(residual) for residual in residuals), r_squared)


def knee(line: Line, *, waste: float = 0.1) -> float:
    """Returns the size from which the fixed part is at most `waste` of the total: larger sizes gain little.

    From `fixed / (fixed + each * B) <= waste`; infinite if a span adds no cost, 1 if there is no fixed cost.
    """
    if line.fixed <= 0:
        return 1.0
    if line.each <= 0:
        return float("inf")
    return max(1.0, line.fixed / line.each * (1 - waste) / waste)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indexes of the points on the Pareto front; smaller is better in both coordinates."""
    order = sorted(range(len(points)), key=lambda index: points[index])
    front: list[int] = []
    best = float("inf")
    for index in order:
        if points[index][1] < best:
            best = points[index][1]
            front.append(index)
    return front


def queue_needed(
    *, spans_per_second: float, export_p99_seconds: float, detection_seconds: float, batch: int
) -> int:
    """Returns how many spans a queue must hold so that none is dropped before the breaker opens.

    `Q >= peak rate * (p99 of an export + time to detect a dead Collector) + one batch`.
    """
    return int(np.ceil(spans_per_second * (export_p99_seconds + detection_seconds))) + batch


def _estimate(value: float, drawn: Array, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
