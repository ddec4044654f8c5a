"""Measurements of a service, on readings whose answer is known and on a real process."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from support.readings import reading

from loadtest.tune.measuring import CpuMeter, Exports, freshness_seconds, peak_per_second
from loadtest.watch import Reading, longest_gap_seconds

PERIOD = 0.1


def batches(*, rate: float, every: float, seconds: float = 20) -> list[Reading]:
    """Returns readings in which spans end evenly and all are accepted every `every` seconds."""
    times = np.arange(0, seconds, PERIOD)
    return [
        reading(at, ended=round(at * rate), delivered=round(np.floor(at / every + 1e-9) * every * rate))
        for at in times
    ]


@pytest.mark.parametrize("every", [0.5, 1.0, 2.0])
def test_freshness_is_the_wait_for_the_batch(every: float) -> None:
    """Waits are spread evenly from zero to the whole delay, plus up to one reading's interval."""
    p50, p95 = freshness_seconds(batches(rate=400, every=every), (50, 95))
    assert p50 == pytest.approx(every / 2, abs=PERIOD)
    assert p95 == pytest.approx(every * 0.95, abs=PERIOD)


def test_freshness_counts_an_outage() -> None:
    """Spans that waited for the Collector are old when it accepts them."""
    moments = [(at, round(at * 100)) for at in np.arange(0, 12, PERIOD)]
    readings = [reading(at, ended=ended, delivered=ended if at >= 10 else 0) for at, ended in moments]
    assert freshness_seconds(readings, (100,))[0] == pytest.approx(10, abs=2 * PERIOD)


def test_freshness_of_nothing_is_not_a_number() -> None:
    """Without deliveries it is NaN rather than zero."""
    assert np.isnan(freshness_seconds([reading(0, ended=5), reading(1, ended=9)], (50,))[0])


def test_peak_is_of_the_busiest_second() -> None:
    """A shorter burst does not count as a peak."""
    moments = np.arange(0, 10, PERIOD)
    readings = [reading(at, ended=round(100 * at + 300 * np.clip(at - 5, 0, 1))) for at in moments]
    assert peak_per_second(readings) == pytest.approx(400, rel=0.05)


def test_gap_is_the_longest_time_unseen() -> None:
    """It is infinite when there is only one reading."""
    assert longest_gap_seconds([reading(0), reading(0.3), reading(1.5)]) == pytest.approx(1.2)
    assert longest_gap_seconds([reading(0)]) == float("inf")


EARLIER = Exports((0.001, 0.01, float("inf")), (0, 10, 10), 0.05, 10, 1_000, 280_000, {"encode": 1.0})
LATER = Exports(
    (0.001, 0.01, float("inf")), (50, 110, 110), 0.6, 110, 11_000, 3_080_000, {"encode": 1.2, "grpc": 0.1}
)


def test_exports_are_those_of_the_measured_time() -> None:
    """Earlier exports are subtracted, bucket by bucket."""
    found = LATER.since(EARLIER)
    assert (found.counts, found.exports, found.spans) == ((50, 100, 100), 100, 10_000)
    assert (found.seconds, found.payload_bytes) == (pytest.approx(0.55), 2_800_000)
    assert LATER.since(Exports((), (), 0, 0, 0, 0, {})) == LATER


def test_cpu_of_a_span_is_that_of_the_stages_asked_for() -> None:
    """A stage that began in the measured time counts from zero."""
    found = LATER.since(EARLIER)
    assert found.cpu_us_per_span("encode") == pytest.approx(20)
    assert found.cpu_us_per_span("encode", "send", "grpc") == pytest.approx(30)
    assert np.isnan(EARLIER.since(EARLIER).cpu_us_per_span("encode"))


def test_quantiles_are_even_within_a_bucket() -> None:
    """They are interpolated as by `histogram_quantile`."""
    found = LATER.since(EARLIER)
    assert found.quantile_seconds(0.25) == pytest.approx(0.0005)
    assert found.quantile_seconds(0.5) == pytest.approx(0.001)
    assert found.quantile_seconds(0.75) == pytest.approx(0.0055)
    apart = Exports((0.1, 0.5, 1, 5, float("inf")), (1, 1, 1, 2, 2), 0, 2, 0, 0, {})
    assert apart.quantile_seconds(0.5) == pytest.approx(0.1), "not the end of what is empty"
    assert apart.quantile_seconds(0.75) == pytest.approx(3)
    assert np.isnan(Exports((0.1,), (0,), 0, 0, 0, 0, {}).quantile_seconds(0.5))


BURN = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
began = time.process_time()
while time.process_time() < began + 0.3: pass
print(time.process_time() - began, flush=True)
sys.stdin.read()
"""


def test_cpu_is_the_measured_process_and_what_is_none_of_ours() -> None:
    """A process that reports its CPU time is measured both as the service and as a stranger."""

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with started() as burner, started() as idle:
        assert burner.stdin
        assert burner.stdout
        assert idle.stdout
        assert burner.stdout.readline() == idle.stdout.readline() == "ready\n"  # starting costs CPU, too
        as_service, as_stranger = CpuMeter(burner.pid, [os.getpid()]), CpuMeter(idle.pid, [])
        began = time.monotonic()
        burner.stdin.write("go\n")
        burner.stdin.flush()
        burned = float(burner.stdout.readline())
        # The kernel counts in hundredths of a second, and each reading is rounded.
        assert as_service.measured_seconds() == pytest.approx(burned, abs=0.05)
        assert as_stranger.other_cores() * (time.monotonic() - began) >= burned - 0.05
        assert as_stranger.measured_seconds() <= 0.05
        idle.communicate("go\n")
        burner.communicate()
