"""Validity gates: reasons why a run of the sweep does not measure the service."""

from collections.abc import Sequence

from loadtest.load.report import LoadResult
from loadtest.tune.measuring import Exports
from loadtest.tune.plan import OTHER_CORES
from loadtest.validity import is_saturated, keeps_its_rate
from loadtest.watch import Reading
from telemetry.export.cpu import Stage

FEWEST_SPANS = 100


def reasons_against(
    *,
    load: LoadResult,
    achieved_share: float,
    readings: Sequence[Reading],
    exports: Exports,
    other_cpu_cores: float,
    most_other_cores: float = OTHER_CORES,
) -> tuple[str, ...]:
    """Returns every reason why a run is invalid; none for a valid one.

    Args:
        load: the generator's results.
        achieved_share: requests made over requests intended, in the measured time.
        readings: the service's readings in the measured time and until it had sent everything.
        exports: those of the measured time.
        other_cpu_cores: the CPU that unrelated processes used, in cores.
        most_other_cores: how much of it is allowed.
    """
    reasons = []
    if is_saturated(load):
        reasons.append(f"the generator is saturated: {load.generator_cpu_share:.0%} of a core")
    if not keeps_its_rate(achieved_share):
        reasons.append(f"the generator made {achieved_share:.1%} of the intended requests")
    if load.lost_workers:
        reasons.append(f"{load.lost_workers} workers of the generator were lost")
    if load.failures or load.script_errors:
        reasons.append(f"{load.failures + len(load.script_errors)} requests failed")
    if other_cpu_cores > most_other_cores:
        reasons.append(f"other processes used {other_cpu_cores:.2f} cores, more than {most_other_cores:g}")
    if not exports.spans:
        reasons.append("nothing was exported in the measured time: raise SECONDS, or shorten the delay")
    elif not exports.cpu_seconds.get(Stage.ENCODE):
        reasons.append("the service's /metrics has no CPU of telemetry")
    reasons += _of_the_ledger(readings)
    return tuple(reasons)


def _of_the_ledger(readings: Sequence[Reading]) -> list[str]:
    if not readings:
        return ["the service returned no health report"]
    unbalanced = sum(1 for reading in readings if not reading.is_balanced)
    last = readings[-1]
    reasons = [f"the ledger did not add up in {unbalanced} readings"] if unbalanced else []
    if last.pending:
        reasons.append(f"{last.pending} spans were not sent in the end")
    if any(reading.breaker != "closed" for reading in readings):
        reasons.append("the breaker opened")
    if last.ended - readings[0].ended < FEWEST_SPANS:
        reasons.append(f"only {last.ended - readings[0].ended} spans ended")
    return reasons
