"""Judges an outage run: each promise of its fault, with the measured figure."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from loadtest.load.requests_file import RequestRecord
from loadtest.outage.data import OutageRun
from loadtest.outage.faults import Promise
from loadtest.statistics import Estimate, bootstrap_ratio, percentile
from loadtest.validity import is_saturated, keeps_its_rate
from loadtest.verdict import Judgement, Verdict, judge
from loadtest.watch import PERIOD_SECONDS, Reading, longest_gap_seconds, memory_bytes

MOST_LATENCY_RATIO = 1.15
"""p99 has risen if the whole interval is above this."""
STALL = 5.0
MOST_STALLED_SECONDS = 1
"""One stalled second may be due to the machine."""
MOST_GROWTH_BYTES = 30 * 2**20
KILL_OPENS_SECONDS = 5.0
CLOSE_SLACK_SECONDS = 2.0
RECOVERY_SECONDS = 2.0
"""A breaker that asks by connecting closes so soon after somebody listens again."""
LONGEST_GAP_SECONDS = 1.0
_FEWEST_SECONDS = 5
"""Seconds with requests that an interval needs on each side."""
_MIB = 2**20
_SEED = 20_260_101


def judge_outage(run: OutageRun) -> list[Verdict]:
    """Returns a verdict for each promise of the run's fault, in a fixed order."""
    return [_JUDGES[promise](run) for promise in Promise if promise in run.fault.promises]


def latency_ratio(run: OutageRun) -> Estimate | None:
    """Returns p99 in the fault over p99 before it, drawn by whole seconds; None with too little data."""
    phases = run.phases
    before = list(_by_second(run.requests, phases.before, phases.fault))
    during = list(_by_second(run.requests, phases.fault, phases.mended))
    if min(len(before), len(during)) < _FEWEST_SECONDS:
        return None
    return bootstrap_ratio(during, before, percentile(99), random=np.random.default_rng(_SEED))


def stalled_seconds(run: OutageRun) -> int:
    """Counts the seconds of the fault in which half of the requests were many times as slow as p99 before.

    A few such seconds, as in a service that waits for a dead Collector until its breaker opens, need not
    raise the lower end of p99's interval: more than one draw in forty may contain none of them.
    """
    phases = run.phases
    before = [it.latency_seconds for it in run.requests if phases.before <= it.due < phases.fault]
    if not before:
        return 0
    limit = STALL * float(np.percentile(before, 99))
    during = _by_second(run.requests, phases.fault, phases.mended)
    return sum(float(np.median(latencies)) > limit for latencies in during)


def opening_seconds(run: OutageRun) -> dict[str, float | None]:
    """Returns the time from the fault until each breaker opened; None if it did not during the fault."""
    return {
        service: next(
            (
                reading.at - run.phases.fault
                for reading in readings
                if run.phases.fault <= reading.at < run.phases.mended and reading.breaker != "closed"
            ),
            None,
        )
        for service, readings in run.readings.items()
    }


def closing_seconds(run: OutageRun) -> dict[str, float | None]:
    """Returns the time from the repair until each breaker closed for good; None if it did not."""

    def closed_for_good(readings: Sequence[Reading]) -> float | None:
        after = [reading for reading in readings if reading.at >= run.phases.mended]
        if not after or after[-1].breaker != "closed":
            return None
        last_open = max((reading.at for reading in after if reading.breaker != "closed"), default=None)
        if last_open is None:
            return 0.0
        return next(reading.at for reading in after if reading.at > last_open) - run.phases.mended

    return {service: closed_for_good(readings) for service, readings in run.readings.items()}


def drain_seconds(run: OutageRun) -> float:
    """Returns the time from the repair until no service had more pending than before, nor any on disk."""

    def last_behind(readings: Sequence[Reading]) -> float:
        usual = max((it.in_memory for it in readings if it.at < run.phases.fault), default=0)
        behind = (it.at for it in readings if it.spooled or it.in_memory > usual)
        return max((at for at in behind if at >= run.phases.mended), default=run.phases.mended)

    return max(last_behind(readings) for readings in run.readings.values()) - run.phases.mended


def _achieved_before(run: OutageRun) -> float:
    """Returns the share of intended requests that were made before the fault, excluding the warm-up."""
    start, end = run.phases.before, run.phases.fault
    made = sum(start <= it.started < end for it in run.requests)
    # Each shopper has its own rhythm: one request of each may fall on either side of a bound.
    return (made + run.load.users) / (run.rate * (end - start))


def _by_second(requests: Sequence[RequestRecord], start: float, end: float) -> Iterator[list[float]]:
    """Yields the latencies of each second, by when the requests were due."""
    seconds: dict[int, list[float]] = {}
    for record in requests:
        if start <= record.due < end:
            seconds.setdefault(int(record.due - start), []).append(record.latency_seconds)
    yield from seconds.values()


def _opened(run: OutageRun) -> Verdict:
    if run.fault.name == "kill":
        limit = KILL_OPENS_SECONDS
    else:
        limit = 3 * run.timeout_seconds + run.delay_seconds if run.fault.opens_at_once else float("inf")
    found = opening_seconds(run)
    promise = "the breaker opened" + (f" within {limit:g} s" if limit < float("inf") else "")
    lasted = run.phases.mended - run.phases.fault
    if None in found.values() and lasted < limit < float("inf"):
        figure = f"the fault lasted {lasted:.1f} s only: raise SECONDS to {limit:g}"
        return Verdict(judgement=Judgement.INVALID, promise=promise, figure=figure)
    is_kept = all(seconds is not None and seconds <= limit for seconds in found.values())
    return judge(promise, is_kept=is_kept, figure=_seconds(found, "never"))


def _stayed_closed(run: OutageRun) -> Verdict:
    opened = {service: readings[-1].opened_total for service, readings in run.readings.items()}
    return judge(
        Promise.STAYED_CLOSED,
        is_kept=not any(opened.values()),
        figure=", ".join(f"{service}: opened {count} times" for service, count in opened.items()),
    )


def _no_failure(run: OutageRun) -> Verdict:
    failures = sum(1 for record in run.requests if record.error)
    figure = f"{failures} of {len(run.requests)}"
    if run.load.script_errors:
        figure += f"; errors of the load script: {run.load.script_errors[0]}"
    is_kept = bool(run.requests) and not failures and not run.load.script_errors
    return judge(Promise.NO_FAILURE, is_kept=is_kept, figure=figure)


def _latency(run: OutageRun) -> Verdict:
    ratio, stalled, achieved = latency_ratio(run), stalled_seconds(run), _achieved_before(run)
    if is_saturated(run.load) or not keeps_its_rate(achieved):
        return Verdict(
            judgement=Judgement.INVALID,
            promise=Promise.LATENCY,
            figure=f"the generator made {achieved:.1%} of the intended requests before the fault, at "
            f"{run.load.generator_cpu_share:.0%} of a core: lower RATE or raise USERS",
        )
    if ratio is None:
        return Verdict(
            judgement=Judgement.INVALID,
            promise=Promise.LATENCY,
            figure=f"fewer than {_FEWEST_SECONDS} seconds of load before or in the fault: raise SECONDS",
        )
    figure = f"x {ratio.value:.2f}, 95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
    if stalled:
        figure += f"; {stalled} s in which half of the requests took {STALL:g} times that p99"
    return judge(
        f"p99 did not rise above x {MOST_LATENCY_RATIO:g}",
        is_kept=ratio.low <= MOST_LATENCY_RATIO and stalled <= MOST_STALLED_SECONDS,
        figure=figure,
    )


def _ledger(run: OutageRun) -> Verdict:
    everything = [reading for readings in run.readings.values() for reading in readings]
    unbalanced = sum(1 for reading in everything if not reading.is_balanced)
    gap = max(longest_gap_seconds(readings) for readings in run.readings.values())
    figure = f"{unbalanced} of {len(everything)} did not, {gap:.1f} s between two at most"
    if run.unread:
        figure += f"; {len(run.unread)} had no answer ({run.unread[0]})"
    if not unbalanced and gap > LONGEST_GAP_SECONDS:
        # Whether a service or the machine was slow is for the latencies to say.
        return Verdict(judgement=Judgement.INVALID, promise=Promise.LEDGER, figure=figure)
    return judge(Promise.LEDGER, is_kept=not unbalanced, figure=figure)


def _memory(run: OutageRun) -> Verdict:
    promise = f"memory grew by less than {MOST_GROWTH_BYTES // _MIB} MiB"
    growth: dict[str, float] = {}
    for service, readings in run.readings.items():
        before = [memory_bytes(reading) for reading in readings if reading.at <= run.phases.fault]
        after = [memory_bytes(reading) for reading in readings if reading.at > run.phases.fault]
        growth[service] = float(np.max(after) - np.max(before)) if before and after else MOST_GROWTH_BYTES
    if any(math.isnan(grown) for grown in growth.values()):
        return Verdict(
            judgement=Judgement.INVALID,
            promise=promise,
            figure="the services' system does not report their memory",
        )
    return judge(
        promise,
        is_kept=all(grown < MOST_GROWTH_BYTES for grown in growth.values()),
        figure=", ".join(f"{service}: {grown / _MIB:+.1f} MiB" for service, grown in growth.items()),
    )


def _closed(run: OutageRun) -> Verdict:
    if run.fault.is_unreachable:
        limit = RECOVERY_SECONDS + PERIOD_SECONDS  # as often as the breaker is read
    else:
        limit = run.open_max_seconds + CLOSE_SLACK_SECONDS
    found = closing_seconds(run)
    return judge(
        f"the breaker closed within {limit:g} s of the mending",
        is_kept=all(seconds is not None and seconds <= limit for seconds in found.values()),
        figure=_seconds(found, "not"),
    )


def _drained(run: OutageRun) -> Verdict:
    most = max(reading.pending for readings in run.readings.values() for reading in readings)
    waiting = sum(readings[-1].pending for readings in run.readings.values())
    figure = (
        f"{waiting} spans still wait"
        if run.phases.drained is None
        else f"{drain_seconds(run):.1f} s after the mending; a service had at most {most} waiting"
    )
    return judge(Promise.DRAINED, is_kept=run.phases.drained is not None, figure=figure)


def _delivered(run: OutageRun) -> Verdict:
    last = [readings[-1] for readings in run.readings.values()]
    taken, delivered = sum(it.ended + it.adopted for it in last), sum(it.delivered for it in last)
    lost = _dropped(last)
    figure = f"{taken} ended, {delivered} delivered" + (f", lost: {_reasons(lost)}" if lost else "")
    return judge(Promise.DELIVERED, is_kept=taken == delivered > 0, figure=figure)


def _counted(run: OutageRun) -> Verdict:
    last = [readings[-1] for readings in run.readings.values()]
    taken = sum(it.ended + it.adopted for it in last)
    lost = taken - sum(it.delivered + it.pending for it in last)
    reasons = _dropped(last)
    for reading in last:
        if reading.rejected:
            reasons["rejected"] = reasons.get("rejected", 0) + reading.rejected
    figure = f"{lost} of {taken} lost: {_reasons(reasons)}"
    return judge(Promise.COUNTED, is_kept=lost == sum(reasons.values()) and lost > 0, figure=figure)


def _stored(run: OutageRun) -> Verdict:
    delivered = sum(readings[-1].delivered for readings in run.readings.values()) - run.delivered_before
    figure = f"{delivered} delivered, {run.traces.spans} in Jaeger"
    if run.delivered_before:
        figure += f"; {run.delivered_before} of earlier runs were delivered before"
    return judge(Promise.STORED, is_kept=run.traces.spans == delivered > 0, figure=figure)


def _traces(run: OutageRun) -> Verdict:
    traces = run.traces
    figure = f"{traces.asked - len(traces.missing) - len(traces.incomplete)} of {traces.asked}"
    if traces.missing:
        figure += f"; {len(traces.missing)} are not there, such as {traces.missing[0]}"
    if traces.incomplete:
        trace_id, lack = next(iter(traces.incomplete.items()))
        figure += f"; {len(traces.incomplete)} lack something: {trace_id} {lack}"
    return judge(Promise.TRACES, is_kept=traces.is_whole, figure=figure)


def _dropped(last: Sequence[Reading]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for reading in last:
        for reason, spans in reading.dropped.items():
            if spans:
                reasons[reason] = reasons.get(reason, 0) + spans
    return reasons


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{spans} {reason}" for reason, spans in sorted(reasons.items())) or "none"


def _seconds(found: Mapping[str, float | None], never: str) -> str:
    return ", ".join(
        f"{service}: {never if seconds is None else f'{seconds:.1f} s'}" for service, seconds in found.items()
    )


_JUDGES: Mapping[Promise, Callable[[OutageRun], Verdict]] = {
    Promise.OPENED: _opened,
    Promise.STAYED_CLOSED: _stayed_closed,
    Promise.NO_FAILURE: _no_failure,
    Promise.LATENCY: _latency,
    Promise.LEDGER: _ledger,
    Promise.MEMORY: _memory,
    Promise.CLOSED: _closed,
    Promise.DRAINED: _drained,
    Promise.DELIVERED: _delivered,
    Promise.COUNTED: _counted,
    Promise.STORED: _stored,
    Promise.TRACES: _traces,
}
