"""Each promise of an outage is judged by the readings: kept, broken, or not measured."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.readings import load_result, reading

from loadtest.lab import Lab
from loadtest.load.requests_file import RequestRecord
from loadtest.outage.data import OutageRun, Phases
from loadtest.outage.experiment import Outage
from loadtest.outage.faults import ALWAYS, FAULTS, Promise
from loadtest.outage.judging import closing_seconds, drain_seconds, judge_outage, opening_seconds
from loadtest.outage.report import OutageResult, write_report
from loadtest.traces import StoredTraces
from loadtest.verdict import Verdict, is_good
from loadtest.watch import Reading
from stack.errors import StackError
from stack.settings import load_settings

PHASES = Phases(load=0, before=4, fault=14, mended=34, quiet=44, drained=46)
SPANS_PER_SECOND = 100


def readings(*, opens: float = 15, closes: float = 35.5, step: float = 0.25, **last: Any) -> list[Reading]:
    """Returns readings of a service whose breaker opens and closes at these times, and that then drains."""
    found = []
    for tick in range(round(48 / step) + 1):
        at = tick * step
        ended = round(min(at, PHASES.quiet) * SPANS_PER_SECOND)
        is_open = opens <= at < closes
        sent = ended if at < PHASES.fault or at >= closes + 1 else round(PHASES.fault * SPANS_PER_SECOND)
        found.append(
            reading(
                at,
                ended=ended,
                delivered=sent,
                breaker="open" if is_open else "closed",
                opened_total=int(at >= opens),
                in_memory=0,
                spooled=ended - sent,
                rss_bytes=100 * 2**20,
            )
        )
    found[-1] = found[-1].model_copy(update=last)
    return found


def requests(*, slower: float = 1.0, failed: int = 0) -> list[RequestRecord]:
    """Returns fifty requests a second, a little uneven, and slower by a factor during the fault."""
    found = []
    for number in range(50 * 44):
        due = number / 50
        latency = 0.010 + 0.002 * (number * 7 % 11) / 11
        if PHASES.fault <= due < PHASES.mended:
            latency *= slower
        error = "answered 500 instead of 200" if number < failed else ""
        status = 500 if error else 200
        trace_id = f"{number:032x}"
        found.append(
            RequestRecord(
                due, due, due + latency, "GET", "/v1/products", status, error, trace_id, is_sampled=True
            )
        )
    return found


LOAD = load_result(requests=2_200, seconds=44)
STORED = StoredTraces(asked=2_200, missing=(), incomplete={}, spans=4_400)


def outage(fault: str = "kill", **changes: Any) -> OutageRun:
    """Returns a run in which every promise was kept, except for the changes."""
    values: dict[str, Any] = {
        "fault": FAULTS[fault],
        "rate": 50,
        "seconds": 20,
        "runtime": "native",
        "phases": PHASES,
        "readings": {"storefront": readings()},
        "unread": (),
        "requests": requests(),
        "load": LOAD,
        "traces": STORED,
        "delivered_before": 0,
        "timeout_seconds": 1,
        "delay_seconds": 1,
        "open_max_seconds": 60,
        "configuration": {"OTEL_BSP_SCHEDULE_DELAY": "1000"},
    }
    return OutageRun(**{**values, **changes})


def only_broken(run: OutageRun) -> Verdict:
    """Returns the one promise that was not kept."""
    (broken,) = [verdict for verdict in judge_outage(run) if verdict.judgement != "PASS"]
    return broken


def service(**changes: Any) -> dict[str, list[Reading]]:
    """Returns the readings of the one service, with these changes."""
    return {"storefront": readings(**changes)}


@pytest.mark.parametrize("fault", ["kill", "pause", "flap"])
def test_run_in_which_all_was_kept_is_good(fault: str) -> None:
    """There is a verdict for each promise of the fault, and all are kept."""
    run = outage(fault)
    verdicts = judge_outage(run)
    assert len(verdicts) == len(run.fault.promises)
    assert is_good(verdicts), verdicts


def test_every_fault_promises_that_requests_do_not_notice() -> None:
    """Loss is allowed when disks are full, and in no other fault."""
    for name, fault in FAULTS.items():
        assert fault.promises >= ALWAYS
        assert (Promise.DELIVERED in fault.promises) == (name != "disk")
        assert (Promise.COUNTED in fault.promises) == (name == "disk")
        assert (Promise.OPENED in fault.promises) == (name in {"kill", "pause", "disk"})
    assert Promise.STAYED_CLOSED in FAULTS["slow"].promises


def shifted(index: int, **changes: Any) -> dict[str, list[Reading]]:
    """Returns the service with one reading changed."""
    found = readings()
    found[index] = found[index].model_copy(update=changes)
    return {"storefront": found}


@pytest.mark.parametrize(
    ("changes", "promise", "figure"),
    [
        ({"readings": service(opens=99)}, "the breaker opened", "storefront: never"),
        ({"readings": service(opens=20)}, "the breaker opened within 5 s", "storefront: 6.0 s"),
        ({"readings": shifted(-1, breaker="half_open")}, "the breaker closed", "storefront: not"),
        ({"readings": service(closes=38)}, "the breaker closed within 2.25 s", "storefront: 4.0 s"),
        (
            {"fault": "pause", "open_max_seconds": 1, "readings": service(closes=38)},
            "the breaker closed within 3 s",
            "storefront: 4.0 s",
        ),
        ({"requests": requests(failed=3)}, "no request failed", "3 of 2200"),
        ({"requests": requests(slower=3)}, "p99 did not rise", "x 3.00"),
        ({"readings": shifted(80, ended=1)}, "the ledger added up", "1 of 193 did not"),
        ({"readings": shifted(100, rss_bytes=140 * 2**20)}, "memory grew", "storefront: +40.0 MiB"),
        ({"phases": replace(PHASES, drained=None)}, "what waited was sent", "spans still wait"),
        ({"traces": replace(STORED, spans=4_399)}, "Jaeger stored", "4400 delivered, 4399 in Jaeger"),
        ({"traces": replace(STORED, missing=("a" * 32,))}, "every sampled trace", f"such as {'a' * 32}"),
        (
            {"traces": replace(STORED, incomplete={"b" * 32: "spans of inventory"})},
            "every sampled trace",
            f"{'b' * 32} spans of inventory",
        ),
        ({"load": LOAD.model_copy(update={"script_errors": ["KeyError"]})}, "no request failed", "KeyError"),
    ],
)
def test_broken_promise_is_reported_with_its_figure(
    changes: dict[str, Any], promise: str, figure: str
) -> None:
    """Each is broken alone: the others are still kept."""
    broken = only_broken(outage(**changes))
    assert broken.judgement == "FAIL"
    assert promise in broken.promise
    assert figure in broken.figure


def test_spans_of_an_earlier_run_are_not_looked_for() -> None:
    """An interrupted run left them in the spool, and they are in none of this run's traces."""
    run = outage(readings=service(adopted=70, delivered=4_470), delivered_before=70)
    assert is_good(judge_outage(run))
    assert only_broken(replace(run, delivered_before=69)).promise == Promise.STORED


@pytest.mark.parametrize(
    ("changes", "promise", "figure"),
    [
        ({"readings": service(step=2.0)}, "the ledger added up", "2.0 s between two"),
        ({"readings": shifted(100, rss_bytes=None)}, "memory grew", "does not report"),
    ],
)
def test_what_was_not_measured_is_neither_kept_nor_broken(
    changes: dict[str, Any], promise: str, figure: str
) -> None:
    """Readings are too far apart, or the system does not report memory."""
    broken = only_broken(outage(**changes))
    assert broken.judgement == "INVALID"
    assert promise in broken.promise
    assert figure in broken.figure


def stalled(seconds: float) -> list[RequestRecord]:
    """Returns requests that all had to wait until so many seconds after the fault began."""
    end = PHASES.fault + seconds
    return [
        replace(it, ended=end + it.latency_seconds) if PHASES.fault <= it.due < end else it
        for it in requests()
    ]


@pytest.mark.parametrize("seconds", [2, 3, 6])
def test_stall_is_a_rise(seconds: float) -> None:
    """A service may wait for a dead Collector until its breaker opens, which an interval may not show."""
    broken = only_broken(outage(requests=stalled(seconds)))
    assert broken.promise.startswith("p99 did not rise")
    assert f"{seconds} s in which half of the requests took" in broken.figure


@pytest.mark.parametrize(
    "changes",
    [
        {"load": LOAD.model_copy(update={"generator_cpu_share": 0.97})},
        {"requests": [it for it in requests() if it.due % 1 < 0.9]},
    ],
)
def test_generator_that_cannot_keep_up_says_nothing_of_latency(changes: dict[str, Any]) -> None:
    """It was late before anything was broken."""
    broken = only_broken(outage(**changes))
    assert (broken.judgement, broken.promise) == ("INVALID", Promise.LATENCY)
    assert "lower RATE" in broken.figure


def test_breaker_that_opened_when_all_was_over_did_not_open() -> None:
    """It must notice the fault, not the recovery."""
    (opened,) = [
        it for it in judge_outage(outage("disk", readings=service(opens=35))) if "opened" in it.promise
    ]
    assert (opened.judgement, opened.figure) == ("FAIL", "storefront: never")


def test_fault_that_is_over_before_a_breaker_must_open_proves_nothing() -> None:
    """The verdict is INVALID, with the remedy."""
    short = outage("pause", seconds=20, timeout_seconds=10, readings=service(opens=36))
    (opened,) = [it for it in judge_outage(short) if "opened" in it.promise]
    assert (opened.judgement, opened.figure) == (
        "INVALID",
        "the fault lasted 20.0 s only: raise SECONDS to 31",
    )


@pytest.mark.parametrize("reason", ["spool_expired", "spool_corrupt"])
def test_lost_span_breaks_what_was_promised_of_delivery(reason: str) -> None:
    """Counting it is not enough in a fault that may lose nothing."""
    lost = service(delivered=4_390, dropped={reason: 10})
    broken = only_broken(outage(readings=lost, traces=replace(STORED, spans=4_390)))
    assert broken.promise == "every span was delivered"
    assert broken.figure == f"4400 ended, 4390 delivered, lost: 10 {reason}"


@pytest.mark.parametrize(
    ("dropped", "judgement"), [({"spool_full": 10}, "PASS"), ({"spool_full": 9}, "FAIL")]
)
def test_full_disks_may_lose_what_is_counted(dropped: dict[str, int], judgement: str) -> None:
    """Every lost span needs a reason; a single span without one breaks the promise."""
    lost = service(delivered=4_390, dropped=dropped)
    verdicts = judge_outage(outage("disk", readings=lost, traces=replace(STORED, spans=4_390)))
    (verdict,) = [verdict for verdict in verdicts if verdict.promise == Promise.COUNTED]
    assert verdict.judgement == judgement


def test_fault_that_lost_nothing_proves_nothing_of_counting() -> None:
    """The fault should have provoked a loss."""
    verdicts = judge_outage(outage("disk"))
    (counted,) = [verdict for verdict in verdicts if verdict.promise == Promise.COUNTED]
    assert counted.judgement == "FAIL"


def test_slow_link_must_not_open_the_breaker() -> None:
    """Slow is not dead."""
    assert only_broken(outage("slow")).promise == Promise.STAYED_CLOSED
    assert is_good(judge_outage(outage("slow", readings=service(opens=99))))


def test_too_short_a_fault_says_nothing_of_latency() -> None:
    """The verdict is INVALID, with the remedy."""
    short = outage(phases=replace(PHASES, before=12))
    broken = only_broken(short)
    assert (broken.judgement, broken.promise) == ("INVALID", Promise.LATENCY)
    assert "raise SECONDS" in broken.figure
    assert not is_good(judge_outage(short))


def test_noise_is_no_rise() -> None:
    """One bad second in the fault widens the interval, and does not fail the run."""
    noisy = [
        replace(record, ended=record.ended + 0.1) if 20 <= record.due < 21 else record
        for record in requests()
    ]
    assert is_good(judge_outage(outage(requests=noisy)))


def test_times_are_counted_from_the_fault_and_from_its_end() -> None:
    """Opening is counted from its start; closing and draining from its end."""
    run = outage()
    assert opening_seconds(run) == {"storefront": 1.0}
    assert closing_seconds(run) == {"storefront": 1.5}
    assert drain_seconds(run) == pytest.approx(2.25)


def test_breaker_that_opens_again_is_not_closed_yet() -> None:
    """The last time that it closes counts."""
    found = readings()
    found[170] = found[170].model_copy(update={"breaker": "half_open"})
    assert closing_seconds(outage(readings={"storefront": found})) == {"storefront": 8.75}


def test_report_stands_alone_and_can_be_read_back(tmp_path: Path) -> None:
    """The page needs no network, has a picture and escapes foreign text; programs can read the figures."""
    run = outage(configuration={"TELEMETRY_X": "<script>alert(1)</script>"})
    page = write_report(run, judge_outage(run), tmp_path).read_text()
    assert "<svg" in page
    assert "<script>" not in page
    assert "src=" not in page
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
    result = OutageResult.model_validate_json((tmp_path / "result.json").read_text())
    assert (result.fault, result.opening_seconds) == ("kill", {"storefront": 1.0})
    assert result.ledger["storefront"]["delivered"] == 4_400


class NotedRuntime:
    """A runtime that records the calls of its methods."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Returns a method that records its call."""
        return lambda part: self.done.append(f"{name} {part}")


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        ("kill", ["kill collector", "start collector"]),
        ("pause", ["pause collector", "resume collector"]),
        ("disk", ["pause jaeger", "resume jaeger"]),
        ("flap", ["kill collector", "start collector"]),
    ],
)
def test_fault_is_mended_whatever_happens_meanwhile(fault: str, done: list[str]) -> None:
    """Even Ctrl-C in the middle of it does not prevent that."""
    runtime = NotedRuntime()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FAULTS[fault].inflict(runtime, 20, interrupted)  # type: ignore[arg-type]
    assert runtime.done == done


@pytest.mark.parametrize(("fault", "mending"), [("kill", "start"), ("pause", "resume")])
def test_fault_that_was_interrupted_while_it_began_is_mended(fault: str, mending: str) -> None:
    """The interruption comes when the signal is sent but its effect not yet awaited."""
    done = []

    class Interrupted(NotedRuntime):
        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(_: str) -> None:
                done.append(name)
                if name != mending:
                    raise KeyboardInterrupt

            return call

    with pytest.raises(KeyboardInterrupt):
        FAULTS[fault].inflict(Interrupted(), 20, lambda _: None)  # type: ignore[arg-type]
    assert done == [fault, mending]


def test_slow_link_that_does_not_open_leaves_nothing_behind(tmp_path: Path) -> None:
    """Toxiproxy had been started before the link was refused."""
    done = []

    class Refusing:
        kind = "native"

        def start(self, part: str) -> None:
            done.append(f"start {part}")

        def kill(self, part: str) -> None:
            done.append(f"kill {part}")

        @property
        def slow_link(self) -> None:
            raise StackError("no way")

    lab = Lab(load_settings(), Refusing())  # type: ignore[arg-type]
    outage = Outage(
        lab, FAULTS["slow"], rate=1, users=1, seconds=5, folder=tmp_path, console=Console(quiet=True)
    )
    with pytest.raises(StackError, match="no way"):
        outage.run()
    assert done == ["start toxiproxy", "kill toxiproxy"]
