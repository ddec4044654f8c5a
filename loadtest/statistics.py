"""The arithmetic of the lab: intervals, fits, knees. Pure functions; randomness is handed in."""

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
    """A figure and the interval that it lies in, with the confidence that was asked for (95 % by default)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The figure, and its interval in brackets."""
        return f"{short(self.value)} ({short(self.low)} to {short(self.high)})"


def short(value: float) -> str:
    """Three digits, and never in powers of ten where whole numbers do."""
    return f"{value:.0f}" if _THOUSAND <= abs(value) < _THOUSAND**3 else f"{value:.3g}"


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """The share behind a count, with its exact interval (Clopper and Pearson, 1934): never too narrow."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share")
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def bootstrap_median(
    values: Sequence[float], *, random: np.random.Generator, confidence: float = 0.95, resamples: int = 5_000
) -> Estimate:
    """The median with its percentile bootstrap interval; of one value the interval is that value."""
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
    """A statistic of the later values over that of the earlier ones, with its block bootstrap interval.

    Args:
        later: values in blocks, such as the latencies of each second. What lies in one block moves
            together, so blocks are drawn, not values; else the interval would be too narrow.
        earlier: the same, of the time compared with.
        statistic: what is compared.
        random: draws the blocks.
        confidence: of the interval.
        resamples: how often it is drawn.
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
    """Each treatment's value over the control's, with Student's interval.

    Logarithms are fitted as treatment + block. The noise is that of all treatments, so that a few values of
    each are enough; where there are too few to tell noise, or no block ties a treatment to the control, it
    is left out.

    Args:
        measured: treatment, block, such as the time of day, and value, above 0.
        control: what the others are compared with.
        confidence: of each interval by itself; of m to hold together, ask for 1 - (1 - confidence) / m.
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
    """The statistic that gives a percentile, 0 to 100."""
    return lambda values: float(np.percentile(values, share))


@dataclass(frozen=True, slots=True)
class Line:
    """`y = fixed + each * x`: what an export costs, whatever its size, and what each span adds."""

    fixed: float
    each: float
    residuals: tuple[float, ...]
    """Measured less fitted, in the order of the points."""
    r_squared: float
    """The share of the variation that the line explains."""

    def at(self, x: float) -> float:
        """The line's value."""
        return self.fixed + self.each * x


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """The line of least squares, neither part below 0: a batch is never cheaper for being larger.

    Raises:
        ValueError: fewer than two different x.
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
    """The size from which on the fixed part is at most this share of the whole: larger gains little.

    From `fixed / (fixed + each * B) <= waste`; infinite where a span adds nothing, 1 where nothing is fixed.
    """
    if line.fixed <= 0:
        return 1.0
    if line.each <= 0:
        return float("inf")
    return max(1.0, line.fixed / line.each * (1 - waste) / waste)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points than which no other is better in one and as good in the other; smaller is better."""
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
    """The spans that a queue must hold so that none is dropped before the breaker opens.

    `Q >= peak rate * (p99 of an export + time to detect a dead Collector) + one batch`.
    """
    return int(np.ceil(spans_per_second * (export_p99_seconds + detection_seconds))) + batch


def _estimate(value: float, drawn: Array, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
