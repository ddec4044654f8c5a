"""The judging of a sampling run, on synthetic traces whose answer is known."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadtest.lab import Lab
from loadtest.load.requests_file import RequestRecord
from loadtest.sampling import experiment
from loadtest.sampling.data import HeadRun, RateRun, SamplingRun, ServerCalls, TailRun
from loadtest.sampling.experiment import SamplingLab
from loadtest.sampling.judging import excess_over_limit, judge_sampling
from loadtest.sampling.report import SamplingResult, write_report
from loadtest.traces import StoredTraces
from loadtest.verdict import Verdict, is_good
from stack.errors import StackError
from stack.settings import load_settings
from telemetry.tracing.threshold import NONE, encode_threshold, threshold_of

COUNT = 1_000


def request(number: int, ids: random.Random, ratio: float = 1.0, **changes: Any) -> RequestRecord:
    """Returns a request whose trace is kept by its id."""
    trace_id = ids.getrandbits(128)
    values: dict[str, Any] = {
        "due": number / 100,
        "started": number / 100,
        "ended": number / 100 + 0.01,
        "method": "GET",
        "name": "/v1/products",
        "status": 200,
        "error": "",
        "trace_id": f"{trace_id:032x}",
        "is_sampled": trace_id & (NONE - 1) >= threshold_of(ratio),
    }
    return RequestRecord(**{**values, **changes})


def whole(count: int) -> StoredTraces:
    """Returns this many stored traces, all complete."""
    return StoredTraces(asked=count, missing=(), incomplete={}, spans=5 * count)


def head(ratio: float, **changes: Any) -> HeadRun:
    """Returns a run of one ratio in which every promise was kept, except for the changes."""
    ids = random.Random(11)
    requests = [request(number, ids, ratio) for number in range(COUNT)]
    kept = sum(it.is_sampled for it in requests)
    values: dict[str, Any] = {
        "ratio": ratio,
        "requests": requests,
        "stored": whole(kept),
        "strays": 0,
        "strays_asked": 200,
        "thresholds": frozenset({f"ot=th:{encode_threshold(threshold_of(ratio))}"}),
        "calls": ServerCalls({"GET /v1/products": round(kept / ratio)}, {}),
        "refused": 0,
    }
    return HeadRun(**{**values, **changes})


def limited(kept: set[int]) -> RateRun:
    """Returns a run of a hundred requests a second for ten seconds, of which these were kept."""
    ids = random.Random(12)
    requests = [request(number, ids, is_sampled=number in kept) for number in range(COUNT)]
    return RateRun(5, requests, whole(len(kept)))


ALLOWED = {*range(5), *range(5, COUNT, 20)}


def tail(**changes: Any) -> TailRun:
    """Returns a run with errors and ordinary requests, of which a tenth was kept."""
    ids = random.Random(13)
    requests = [
        request(number, ids, **({"status": 500, "error": "answered 500"} if number % 10 == 0 else {}))
        for number in range(COUNT)
    ]
    values: dict[str, Any] = {
        "percentage": 10,
        "slow_seconds": 0.8,
        "requests": requests,
        "must_keep": whole(100),
        "kept_of_the_rest": 90,
        "rest": 900,
        "calls": ServerCalls({"GET /v1/products": COUNT}, {"GET /v1/products": 100}),
        "refused": 0,
    }
    return TailRun(**{**values, **changes})


def sampling(**changes: Any) -> SamplingRun:
    """Returns a run in which every promise was kept, except for the changes."""
    values: dict[str, Any] = {
        "runtime": "native",
        "rate": 100,
        "heads": [head(0.1), head(0.5)],
        "limited": limited(ALLOWED),
        "tail": tail(),
        "excluded_calls": 0,
        "excluded_asked": 60,
        "configuration": {},
    }
    return SamplingRun(**{**values, **changes})


def only_broken(run: SamplingRun) -> Verdict:
    """Returns the one promise that was not kept."""
    (broken,) = [verdict for verdict in judge_sampling(run) if verdict.judgement != "PASS"]
    return broken


def test_run_in_which_all_was_kept_is_good() -> None:
    """There is a verdict for each promise."""
    verdicts = judge_sampling(sampling())
    assert is_good(verdicts), verdicts
    assert len(verdicts) == 6 * 2 + 1 + 3 + 1 + 3


def flipped(run: HeadRun, count: int) -> HeadRun:
    """Returns the run with this many decisions inverted in each direction."""
    kept = [it for it in run.requests if it.is_sampled][:count]
    dropped = [it for it in run.requests if not it.is_sampled][:count]
    changed = {it.trace_id for it in (*kept, *dropped)}
    return replace(
        run,
        requests=[
            replace(it, is_sampled=not it.is_sampled) if it.trace_id in changed else it for it in run.requests
        ],
    )


def too_many(run: HeadRun) -> HeadRun:
    """Returns the run with twice as many traces kept, and counted accordingly."""
    more = head(0.2)
    kept = sum(it.is_sampled for it in more.requests)
    return replace(
        run,
        requests=more.requests,
        stored=whole(kept),
        calls=ServerCalls({"GET /v1/products": kept / run.ratio}, {}),
    )


@pytest.mark.parametrize(
    ("changes", "promise", "figure"),
    [
        ({"heads": [flipped(head(0.1), 1)]}, "ratio 0.1: keeps what every lower ratio keeps", "2 of 1000"),
        ({"heads": [head(0.5, strays=1)]}, "ratio 0.5: nothing of a trace that was not kept", "1 of 200"),
        (
            {"heads": [head(0.5, stored=StoredTraces(9, ("a" * 32,), {}, 40))]},
            "ratio 0.5: traces are whole",
            f"8 of 9; {'a' * 32} lacks everything",
        ),
        ({"heads": [head(0.5, thresholds=frozenset({"ot=th:8", ""}))]}, "says its threshold", "ot=th:8"),
        ({"heads": [head(0.5, thresholds=frozenset())]}, "says its threshold", "no span"),
        (
            {"heads": [head(0.1, calls=ServerCalls({"GET /v1/products": 100}, {}))]},
            "span metrics count what was sampled away",
            "100 counted of 1000",
        ),
        ({"excluded_calls": 1}, "health and metrics paths", "1 spans of 60"),
        (
            {"limited": limited({*ALLOWED, 6, 7, 8})},
            "never more than a second's worth",
            "at worst +3.8 over",
        ),
        ({"limited": limited(set(range(0, COUNT, 50)))}, "what it allows is kept", "2.00 a second"),
        (
            {"tail": tail(must_keep=StoredTraces(100, (), {"b" * 32: "spans of inventory"}, 490))},
            "every trace with an error and every slow one",
            "99 of 100",
        ),
        ({"tail": tail(kept_of_the_rest=200)}, "of the rest its share", "200 of 900"),
        (
            {"tail": tail(calls=ServerCalls({"GET /v1/products": COUNT - 1}, {"GET /v1/products": 100}))},
            "span metrics are the true counts",
            "999 of 1000 requests",
        ),
        (
            {"tail": tail(calls=ServerCalls({"GET /v1/products": COUNT}, {"GET /v1/products": 99}))},
            "span metrics are the true counts",
            "99 of 100 errors",
        ),
    ],
)
def test_broken_promise_is_shown_with_its_figure(changes: dict[str, Any], promise: str, figure: str) -> None:
    """Each is broken alone: the others are still kept."""
    broken = only_broken(sampling(**changes))
    assert broken.judgement == "FAIL"
    assert promise in broken.promise
    assert figure in broken.figure


def test_share_that_is_not_the_ratio_is_found() -> None:
    """Twice the share breaks the promise of the ratio and that of the span metrics."""
    broken = [
        it.promise for it in judge_sampling(sampling(heads=[too_many(head(0.1))])) if it.judgement != "PASS"
    ]
    assert "ratio 0.1: the kept share is the ratio" in broken
    assert "ratio 0.1: span metrics count what was sampled away" in broken


@pytest.mark.parametrize("changes", [{"heads": [head(0.5, refused=7)]}, {"tail": tail(refused=7)}])
def test_counts_are_not_judged_where_the_collector_refused(changes: dict[str, Any]) -> None:
    """Refused spans are sent and counted again, so the verdict is INVALID."""
    broken = only_broken(sampling(**changes))
    assert broken.judgement == "INVALID"
    assert "refused 7 spans" in broken.figure


def test_ids_that_are_not_random_are_found() -> None:
    """An eighth of them have the same last bits."""
    run = head(1.0)
    skewed = [
        replace(it, trace_id=it.trace_id[:18] + "f" * 14) if number % 8 == 0 else it
        for number, it in enumerate(run.requests)
    ]
    assert only_broken(sampling(heads=[replace(run, requests=skewed)])).promise == "trace ids are uniform"


@given(
    times=st.lists(st.floats(0, 20), min_size=1, max_size=40).map(sorted),
    per_second=st.floats(0.1, 10),
)
def test_excess_is_that_of_the_worst_span_of_time(times: list[float], per_second: float) -> None:
    """It equals the worst over every pair of times."""
    pairs = itertools.combinations_with_replacement(range(len(times)), 2)
    slow = max(last - first + 1 - per_second * (times[last] - times[first]) for first, last in pairs)
    assert excess_over_limit(times, per_second) == pytest.approx(slow - max(1, per_second), abs=1e-6)


def test_stack_is_put_back_though_the_storefront_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may interrupt its restart, so the parts are restored before its faults are reset."""
    restarted = []

    def restart(_: IdleRuntime, part: str, variables: Mapping[str, str]) -> None:
        restarted.append((part, bool(variables)))
        if part == "storefront" and variables:
            raise KeyboardInterrupt

    lab = sampling_lab(tmp_path)
    monkeypatch.setattr(IdleRuntime, "restart", restart)
    with pytest.raises(StackError, match="/faults"):
        lab.run()
    assert restarted[-2:] == [("storefront", False), ("inventory", False)]


class IdleRuntime:
    """A runtime that does nothing."""

    kind = "native"

    def restart(self, part: str, variables: Mapping[str, str]) -> None:
        """Does nothing."""


def sampling_lab(folder: Path, **changes: Any) -> SamplingLab:
    """Returns a lab for a stack that is not there."""
    values: dict[str, Any] = {"rate": 100, "seconds": 10, "ratios": [1.0], "storefront_port": 1}
    values |= changes
    settings = load_settings().with_variables({"STOREFRONT_PORT": f"{values.pop('storefront_port')}"})
    lab = Lab(settings, IdleRuntime())  # type: ignore[arg-type]
    return SamplingLab(lab, users=1, folder=folder, console=Console(quiet=True), **values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratios": [0.001, 1.0]}, "of 1000 traces the ratio 0.001 keeps 1,"),
        ({"rate": 20}, "makes 4 requests/s.*raise RATE above 25"),
    ],
)
def test_load_that_proves_nothing_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    """This comes before any restart: a working sampler would be reported as broken."""
    with pytest.raises(StackError, match=words):
        sampling_lab(tmp_path, **changes).run()


def test_excluded_paths_that_are_traced_are_found(
    counted_requests: tuple[int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found however soon they are counted; without any count the run fails."""
    port, seen = counted_requests
    is_counted = True

    def calls(_: SamplingLab) -> ServerCalls:
        return ServerCalls(Counter(f"GET {path}" for path in seen if is_counted), {})

    monkeypatch.setattr(SamplingLab, "_calls", calls)
    monkeypatch.setattr(experiment, "_STEADY_SECONDS", 0)
    monkeypatch.setattr(experiment, "_METRICS_SECONDS", 1)
    assert sampling_lab(tmp_path, storefront_port=port)._excluded() == 60
    is_counted = False
    with pytest.raises(StackError, match="counted no requests"):
        sampling_lab(tmp_path, storefront_port=port)._excluded()


def test_requests_of_before_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Span metrics lag by some seconds, so spans flushed by a restart are counted after it."""
    totals = iter([100.0])  # then 170: however late the second look is, it finds a change
    monkeypatch.setattr(SamplingLab, "_calls", lambda _: ServerCalls({"GET /": next(totals, 170.0)}, {}))
    monkeypatch.setattr(experiment, "_STEADY_SECONDS", 0.6)
    assert sampling_lab(tmp_path)._settled_calls().total == {"GET /": 170}


def test_storefront_that_others_use_too_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their requests would be counted as the lab's own."""
    more = itertools.count(1.0)
    monkeypatch.setattr(SamplingLab, "_calls", lambda _: ServerCalls({"GET /": next(more)}, {}))
    monkeypatch.setattr(experiment, "_METRICS_SECONDS", 1)
    with pytest.raises(StackError, match="end what else sends requests"):
        sampling_lab(tmp_path)._settled_calls()


@pytest.fixture
def counted_requests() -> Iterator[tuple[int, list[str]]]:
    """A server's port, and the paths of the requests to it."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


def test_sampler_is_asked_for_exactly_the_ratio_that_it_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets all digits, since thresholds are compared exactly."""
    asked: list[str] = []

    def restart(_: SamplingLab, variables: Mapping[str, str]) -> None:
        asked.append(variables["OTEL_TRACES_SAMPLER_ARG"])
        raise StackError("enough")

    monkeypatch.setattr(SamplingLab, "_restart", restart)
    with pytest.raises(StackError, match="/faults"):
        sampling_lab(tmp_path, ratios=[0.123456789]).run()
    assert [float(it) for it in asked] == [0.123456789]


def test_ratio_that_keeps_all_says_nothing_of_what_was_not_kept() -> None:
    """That verdict could not fail; for a lower ratio, some unsampled traces must have been looked up."""
    promises = [it.promise for it in judge_sampling(sampling(heads=[head(1.0)]))]
    assert not any("not kept" in promise for promise in promises)
    assert only_broken(sampling(heads=[head(0.5, strays_asked=0)])).figure == "0 of 0 in Jaeger"


def test_report_stands_alone_and_can_be_read_back(tmp_path: Path) -> None:
    """The page needs no network and has a picture; programs can read the figures."""
    run = sampling()
    page = write_report(run, judge_sampling(run), tmp_path).read_text()
    assert "<svg" in page
    assert (tmp_path / "sampling.png").stat().st_size > 10_000
    result = SamplingResult.model_validate_json((tmp_path / "result.json").read_text())
    assert is_good(result.verdicts)
