"""Judges a sampling run: each promise of each sampler, with the measured figure."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from loadtest.load.requests_file import RequestRecord
from loadtest.sampling.data import HeadRun, RateRun, SamplingRun, TailRun
from loadtest.statistics import Array, clopper_pearson
from loadtest.traces import StoredTraces
from loadtest.verdict import Judgement, Verdict, judge
from telemetry.tracing.threshold import NONE, encode_threshold, threshold_of

CONFIDENCE = 0.999
"""Of each interval: so many are judged that with 95 % one would often fail by chance."""
LEAST_P_VALUE = 0.001
LEAST_OF_RATE = 0.9
"""The share of a rate limit that must be kept while more than enough is offered."""
_ADJUSTED_WITHIN = 0.02


def judge_sampling(run: SamplingRun) -> list[Verdict]:
    """Returns a verdict for each promise."""
    return [
        *itertools.chain.from_iterable(_judge_head(head, run.heads) for head in run.heads),
        _uniform(run.heads),
        *_judge_rate(run.limited),
        judge(
            "health and metrics paths are never traced",
            is_kept=run.excluded_calls == 0,
            figure=f"{run.excluded_calls:.0f} spans of {run.excluded_asked} requests",
        ),
        *_judge_tail(run.tail),
    ]


def random_bits(requests: Sequence[RequestRecord]) -> Array:
    """Returns the trace ids' last 56 bits, as numbers from 0 to 1."""
    return np.array([(int(it.trace_id, 16) & (NONE - 1)) / NONE for it in requests if it.trace_id])


def kept_per_second(run: RateRun) -> tuple[list[int], list[int]]:
    """Returns the traces offered and kept in each second of the run."""
    first = min(it.started for it in run.requests)
    offered = Counter(int(it.started - first) for it in run.requests)
    kept = Counter(int(it.started - first) for it in run.requests if it.is_sampled)
    seconds = range(max(offered) + 1)
    return [offered[second] for second in seconds], [kept[second] for second in seconds]


def excess_over_limit(times: Sequence[float], per_second: float) -> float:
    """Returns how many more traces were kept than a full bucket and its refill allow; 0 or less if none.

    It is the maximum over all intervals from one kept trace to another.
    """
    moments = np.sort(np.asarray(times))
    numbers = np.arange(len(moments))
    # Kept from i to j: j - i + 1; allowed: rate * (t_j - t_i) + bucket. Maximized in two parts.
    started = np.maximum.accumulate(per_second * moments - numbers)
    most = numbers - per_second * moments + started + 1
    return float(np.max(most)) - max(1.0, per_second)


def _judge_head(head: HeadRun, heads: Sequence[HeadRun]) -> Iterator[Verdict]:
    name = f"ratio {head.ratio:g}"
    kept = sum(it.is_sampled for it in head.requests)
    asked = len(head.requests)
    share = clopper_pearson(kept, asked, confidence=CONFIDENCE)
    yield judge(
        f"{name}: the kept share is the ratio",
        is_kept=share.low <= head.ratio <= share.high,
        figure=f"{kept} of {asked}, 99.9 % interval {share.low:.4f} to {share.high:.4f}",
    )
    threshold = threshold_of(head.ratio)
    named = [it for it in head.requests if it.trace_id]
    wrong = sum((int(it.trace_id, 16) & (NONE - 1) >= threshold) != it.is_sampled for it in named)
    lower = [other.ratio for other in heads if other.ratio < head.ratio]
    yield judge(
        f"{name}: keeps what every lower ratio keeps",
        is_kept=wrong == 0 and len(named) == asked,
        figure=f"{wrong} of {len(named)} decided otherwise than by threshold"
        + (f"; lower: {', '.join(f'{ratio:g}' for ratio in lower)}" if lower else ""),
    )
    yield _whole(f"{name}: traces are whole over both services", head.stored)
    if kept < asked:
        yield judge(
            f"{name}: nothing of a trace that was not kept",
            is_kept=head.strays == 0 < head.strays_asked,
            figure=f"{head.strays} of {head.strays_asked} in Jaeger",
        )
    expected = frozenset({f"ot=th:{encode_threshold(threshold)}"})
    yield judge(
        f"{name}: every span says its threshold",
        is_kept=head.thresholds == expected,
        figure=", ".join(sorted(head.thresholds)) or "no span",
    )
    yield _red_of_head(head, name, kept, asked)


def _red_of_head(head: HeadRun, name: str, kept: int, asked: int) -> Verdict:
    promise = f"{name}: span metrics count what was sampled away"
    if head.refused:
        return _refused(promise, head.refused)
    counted = sum(head.calls.total.values())
    estimate = clopper_pearson(kept, asked, confidence=CONFIDENCE)
    low, high = estimate.low * asked / head.ratio, estimate.high * asked / head.ratio
    is_adjusted = abs(counted - kept / head.ratio) <= max(1.0, _ADJUSTED_WITHIN * kept / head.ratio)
    return judge(
        promise,
        is_kept=is_adjusted and low <= asked <= high,
        figure=f"{counted:.0f} counted of {asked} requests, from {kept} traces",
    )


def _uniform(heads: Sequence[HeadRun]) -> Verdict:
    bits = np.concatenate([random_bits(head.requests) for head in heads])
    found = stats.kstest(bits, "uniform")
    return judge(
        "trace ids are uniform",
        is_kept=found.pvalue >= LEAST_P_VALUE,
        figure=f"Kolmogorov-Smirnov over {len(bits)} ids: D {found.statistic:.4f}, p {found.pvalue:.3f}",
    )


def _judge_rate(run: RateRun) -> Iterator[Verdict]:
    kept = [it.started for it in run.requests if it.is_sampled]
    offered, by_second = kept_per_second(run)
    excess = excess_over_limit(kept, run.per_second) if kept else 0.0
    # A decision is made between a request's start and its end.
    slack = 1.0
    yield judge(
        f"rate_limited {run.per_second:g}/s: never more than a second's worth at once",
        is_kept=bool(kept) and excess <= slack,
        figure=f"{len(kept)} of {len(run.requests)} kept, {max(by_second)} in the busiest second "
        f"of {max(offered)} offered; at worst {excess:+.1f} over a full bucket and its refill",
    )
    seconds = max(it.started for it in run.requests) - min(it.started for it in run.requests)
    yield judge(
        f"rate_limited {run.per_second:g}/s: what it allows is kept",
        is_kept=len(kept) >= LEAST_OF_RATE * run.per_second * seconds,
        figure=f"{len(kept) / seconds:.2f} a second over {seconds:.0f} s",
    )
    yield _whole(f"rate_limited {run.per_second:g}/s: traces are whole over both services", run.stored)


def _judge_tail(run: TailRun) -> Iterator[Verdict]:
    name = f"tail {run.percentage:g} %"
    yield _whole(f"{name}: every trace with an error and every slow one is kept", run.must_keep)
    share = clopper_pearson(run.kept_of_the_rest, run.rest, confidence=CONFIDENCE)
    yield judge(
        f"{name}: of the rest its share",
        is_kept=share.low <= run.percentage / 100 <= share.high,
        figure=f"{run.kept_of_the_rest} of {run.rest}, 99.9 % interval {share.low:.3f} to {share.high:.3f}",
    )
    promise = f"{name}: span metrics are the true counts, by route and error"
    if run.refused:
        yield _refused(promise, run.refused)
        return
    true = Counter(route_of(it) for it in run.requests)
    failed = Counter(route_of(it) for it in run.requests if it.error)
    is_same = dict(run.calls.total) == dict(true) and dict(run.calls.errors) == dict(failed)
    yield judge(
        promise,
        is_kept=is_same,
        figure=f"{sum(run.calls.total.values()):.0f} of {sum(true.values())} requests, "
        f"{sum(run.calls.errors.values()):.0f} of {sum(failed.values())} errors, {len(true)} routes",
    )


def route_of(request: RequestRecord) -> str:
    """Returns the name of a request's server span: method and route, without the scenario's remark."""
    return f"{request.method} {request.name.split(' (')[0]}"


def _whole(promise: str, stored: StoredTraces) -> Verdict:
    lacking = len(stored.missing) + len(stored.incomplete)
    figure = f"{stored.asked - lacking} of {stored.asked}"
    for trace_id, lack in (*((it, "everything") for it in stored.missing), *stored.incomplete.items()):
        figure += f"; {trace_id} lacks {lack}"
        break
    return judge(promise, is_kept=stored.is_whole, figure=figure)


def _refused(promise: str, spans: float) -> Verdict:
    figure = f"the Collector refused {spans:.0f} spans, which it then counted again"
    return Verdict(judgement=Judgement.INVALID, promise=promise, figure=figure)
