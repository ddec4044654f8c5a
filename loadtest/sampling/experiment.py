"""`make sampling`: runs every sampler under load and reads the results from Jaeger and Prometheus."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import httpx
from rich.console import Console

from loadtest.lab import STARTED_IN_ORDER, Lab
from loadtest.load.generator import Generator, Load
from loadtest.load.requests_file import RequestRecord, read_requests
from loadtest.load.shapes import Shape, rate_at
from loadtest.sampling.data import HeadRun, RateRun, SamplingRun, ServerCalls, TailRun
from loadtest.traces import StoredTraces, count_stored, look_up, sampled, threshold_members
from stack.backends.jaeger import Jaeger
from stack.backends.prometheus import Prometheus
from stack.errors import StackError
from stack.health import NotYetError, wait_for
from stack.service_variables import authorization
from stack.services import STOREFRONT

EXCLUDED_PATHS = ("/healthz", "/health/telemetry", "/metrics")
_EXCLUDED_ASKED = 20
_STRAYS_ASKED = 200
_JAEGER_SECONDS = 20.0
_METRICS_SECONDS = 30.0
_STEADY_SECONDS = 5.0
"""Longer than the Collector's flush and a scrape together."""
_FRESH_SECONDS = 6.0
"""A few scrapes."""
TAIL_PERCENTAGE = 10.0
ERROR_RATE = 0.1
SLOW_MS = 800
"""Well over the 500 ms of collector/tail_sampling.yaml."""
KEPT_SECONDS = 0.5
"""That threshold, in seconds."""
SLOW_RATE = 10.0
PER_SECOND = 5.0
FEWEST_KEPT = 10
"""The traces that a ratio must be expected to keep; by chance, one run in 20,000 then keeps none."""
_CALLS = (
    "traces_span_metrics_calls_total"
    '{service_name="storefront",span_kind="SPAN_KIND_SERVER",span_name!="PUT /faults"}'
)
"""The shop's own requests, without this lab's requests for faults."""
_REFUSED = "otelcol_receiver_refused_spans_total"


class SamplingLab:
    """The runs of all samplers; afterwards the stack is put back, whatever happened.

    Args:
        lab: the stack.
        rate: requests a second.
        seconds: the duration of the load for each sampler.
        ratios: the head sampler's ratios.
        folder: where requests are kept.
        console: where progress is reported.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        rate: float,
        users: int,
        seconds: float,
        ratios: Sequence[float],
        folder: Path,
        console: Console,
    ) -> None:
        self._lab = lab
        self._rate = rate
        self._users = users
        self._seconds = seconds
        self._ratios = ratios
        self._folder = folder
        self._console = console
        self._jaeger = Jaeger(lab.settings.jaeger_port)
        self._prometheus = Prometheus(lab.settings.prometheus_port)

    def run(self) -> SamplingRun:
        """Runs the experiment.

        Raises:
            StackError: the stack or the requested load does not allow the measurement.
        """
        self._lab.check_room(self._rate * self._seconds)
        self._check_load()
        try:
            heads = [self._head(ratio) for ratio in self._ratios]
            limited = self._rate_limited()
            excluded = self._excluded()
            tail = self._tail()
        finally:
            # Put back first: the storefront's restart may have been interrupted, and it has to clear faults.
            try:
                self._lab.put_back()
            finally:
                self._faults({})
        return SamplingRun(
            runtime=self._lab.runtime.kind,
            rate=self._rate,
            heads=heads,
            limited=limited,
            tail=tail,
            excluded_calls=excluded,
            excluded_asked=_EXCLUDED_ASKED * len(EXCLUDED_PATHS),
            configuration=self._lab.shown_configuration({}),
        )

    def _check_load(self) -> None:
        ratio, traces = min(self._ratios), self._rate * self._seconds
        if ratio * traces < FEWEST_KEPT:
            raise StackError(
                f"of {traces:g} traces the ratio {ratio:g} keeps {ratio * traces:.2g}, and fewer"
                f" than {FEWEST_KEPT} prove nothing: raise RATE or SECONDS, or leave it out of RATIOS"
            )
        least = rate_at(Shape.SPIKE, 0, rate=self._rate, duration_seconds=self._seconds)
        if least <= PER_SECOND:
            raise StackError(
                f"beside its burst the run makes {least:g} requests/s, which a limit of {PER_SECOND:g}/s "
                f"does not touch: raise RATE above {self._rate * PER_SECOND / least:g}"
            )

    def _head(self, ratio: float) -> HeadRun:
        self._restart(
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": f"{ratio!r}"}
        )
        before, refused = self._settled_calls(), self._refused()
        requests = self._load(f"head-{ratio:g}", f"head sampling, ratio {ratio:g}", self._seconds)
        traces = sampled(requests)
        stored = self._look_up(traces)
        unsampled = [it.trace_id for it in requests if it.trace_id and not it.is_sampled]
        asked = unsampled[:: max(1, len(unsampled) // _STRAYS_ASKED)]
        expected = len(traces) / ratio
        return HeadRun(
            ratio=ratio,
            requests=requests,
            stored=stored,
            strays=count_stored(self._jaeger, asked),
            strays_asked=len(asked),
            thresholds=threshold_members(self._jaeger, list(traces)[:_STRAYS_ASKED]),
            calls=self._calls_since(before, expected),
            refused=self._refused() - refused,
        )

    def _rate_limited(self) -> RateRun:
        self._restart({"OTEL_TRACES_SAMPLER": "rate_limited", "OTEL_TRACES_SAMPLER_ARG": f"{PER_SECOND:g}"})
        what = f"rate-limited sampling, {PER_SECOND:g} a second, under bursts"
        requests = self._load("rate-limited", what, self._seconds, shape=Shape.SPIKE)
        return RateRun(PER_SECOND, requests, self._look_up(sampled(requests)))

    def _excluded(self) -> float:
        """Requests health and metrics with every trace sampled; returns how many server spans resulted."""
        self._restart({"OTEL_TRACES_SAMPLER": "always_on"})
        self._print("health and metrics paths")
        with httpx.Client(base_url=STOREFRONT.url(self._lab.settings), trust_env=False) as client:
            before = self._settled_calls()
            for path in EXCLUDED_PATHS:
                for _ in range(_EXCLUDED_ASKED):
                    client.get(path)
            # A traced request: once it is counted, spans of the earlier requests would be, too.
            client.get("/v1/products").raise_for_status()
        calls = self._calls_since(before, 1)
        if not calls.total:
            raise StackError(
                "the span metrics counted no requests, so health and metrics paths cannot be judged"
            )
        return sum(
            count for name, count in calls.total.items() if any(path in name for path in EXCLUDED_PATHS)
        )

    def _tail(self) -> TailRun:
        self._restart({"OTEL_TRACES_SAMPLER": "always_on"})
        self._lab.restart("collector", {"TAIL_SAMPLING_PERCENTAGE": f"{TAIL_PERCENTAGE:g}"})
        self._wait_until_scraped()
        self._faults({"error_rate": ERROR_RATE})
        what = f"tail sampling, {TAIL_PERCENTAGE:g} %, with errors"
        requests = self._load("tail-errors", what, self._seconds, fails=True)
        self._faults({"latency_ms": SLOW_MS})
        slow = self._load(
            "tail-slow", "tail sampling, with slow requests", max(5.0, self._seconds / 2), rate=SLOW_RATE
        )
        self._faults({})
        requests = [*requests, *slow]
        slow_ids = {it.trace_id for it in slow if is_struck(it)}
        must = [it for it in requests if _has_error_span(it) or it.trace_id in slow_ids]
        must_ids = {it.trace_id for it in must}
        kept = self._look_up(sampled(must))
        # The Collector may also keep requests that were slow by themselves; only it knows how slow.
        rest = [
            it.trace_id
            for it in requests
            if it.trace_id and it.trace_id not in must_ids and it.ended - it.started < KEPT_SECONDS
        ]
        # Counted from zero, because the Collector was restarted.
        calls = self._calls_since(ServerCalls({}, {}), len(requests))
        return TailRun(
            percentage=TAIL_PERCENTAGE,
            slow_seconds=SLOW_MS / 1000,
            requests=requests,
            must_keep=kept,
            kept_of_the_rest=count_stored(self._jaeger, rest),
            rest=len(rest),
            calls=calls,
            refused=self._refused(),
        )

    def _restart(self, variables: Mapping[str, str]) -> None:
        for service in STARTED_IN_ORDER:
            self._lab.restart(service, {"TELEMETRY_TRACE_RESPONSE": "true", **variables})

    def _load(
        self,
        name: str,
        what: str,
        seconds: float,
        *,
        shape: Shape = Shape.STEADY,
        rate: float | None = None,
        fails: bool = False,
    ) -> list[RequestRecord]:
        load = Load(
            users=self._users,
            rate=rate or self._rate,
            shape=shape,
            storefront_port=self._lab.settings.storefront_port,
        )
        self._print(f"{what}: {load.rate:g} requests/s for {seconds:g} s")
        file, log = self._folder / f"{name}.csv", self._folder / f"{name}.log"
        generator = Generator(
            load, seconds=seconds, result_file=self._folder / f"{name}.json", requests_file=file, log=log
        )
        try:
            with self._console.status(what):
                status = generator.wait()
        finally:
            generator.stop()
        requests = read_requests([file])
        if status != 0 or not requests:
            raise StackError(f"Locust failed; see its output in {log}")
        failed = [
            it
            for it in requests
            if it.error and not (fails and it.status >= httpx.codes.INTERNAL_SERVER_ERROR)
        ]
        if failed:
            first = failed[0]
            raise StackError(
                f"{len(failed)} requests failed, such as {first.method} {first.name}: {first.error}"
            )
        return requests

    def _look_up(self, traces: Mapping[str, Collection[str]]) -> StoredTraces:
        with self._console.status(f"asking Jaeger for {len(traces)} traces"):
            return look_up(self._jaeger, traces, spans=None, seconds=_JAEGER_SECONDS)

    def _calls(self) -> ServerCalls:
        """Returns all calls that were counted so far, by span name."""
        total: dict[str, float] = {}
        errors: dict[str, float] = {}
        # For five minutes, a query also finds the old figures of a Collector that was restarted.
        fresh = f"{_CALLS} and timestamp({_CALLS}) >= {time.time() - _FRESH_SECONDS:.3f}"
        for series in self._prometheus.query(f"sum by (span_name, status_code) ({fresh})"):
            name, value = series.labels["span_name"], series.value
            total[name] = total.get(name, 0.0) + value
            if series.labels["status_code"] == "STATUS_CODE_ERROR":
                errors[name] = errors.get(name, 0.0) + value
        return ServerCalls(total, errors)

    def _settled_calls(self) -> ServerCalls:
        """Returns all calls that were counted so far, once earlier ones are no longer on their way.

        Raises:
            StackError: the count keeps growing, because something else uses the storefront.
        """
        calls, is_settled = self._wait_for_calls(ServerCalls({}, {}), expected=0)
        if not is_settled:
            raise StackError(
                f"span metrics still grew after {_METRICS_SECONDS:g} s without load:"
                " end what else sends requests to the storefront"
            )
        return calls

    def _calls_since(self, before: ServerCalls, expected: float) -> ServerCalls:
        """Returns the calls counted since `before`, once the expected count is steady, or after a timeout."""
        calls, _ = self._wait_for_calls(before, expected)
        return calls

    def _wait_for_calls(self, before: ServerCalls, expected: float) -> tuple[ServerCalls, bool]:
        """Returns the calls counted since `before`, and whether they are steady and as many as expected."""
        deadline = time.monotonic() + _METRICS_SECONDS
        steady_since, latest = time.monotonic(), -1.0
        with self._console.status("waiting for the span metrics"):
            while time.monotonic() < deadline:
                now = _less(self._calls(), before)
                count = sum(now.total.values())
                if count != latest:
                    steady_since, latest = time.monotonic(), count
                is_steady = time.monotonic() - steady_since > _STEADY_SECONDS
                if count >= math.floor(expected) and is_steady:
                    return now, True
                time.sleep(0.5)
        return _less(self._calls(), before), False

    def _refused(self) -> float:
        return self._prometheus.total(_REFUSED, since=time.time() - _FRESH_SECONDS)

    def _wait_until_scraped(self) -> None:
        since = time.time()

        def check() -> None:
            fresh = self._prometheus.query(f"timestamp(up{{job=~'collector|spans'}} == 1) >= {since:.3f}")
            if len(fresh) < 2:  # noqa: PLR2004 - its own metrics, and those of spans
                raise NotYetError("Prometheus has not scraped the Collector since it was restarted")

        wait_for(check, seconds=_METRICS_SECONDS)

    def _faults(self, plan: Mapping[str, float]) -> None:
        url = f"{STOREFRONT.url(self._lab.settings)}/faults"
        try:
            headers = authorization(self._lab.settings)
            httpx.put(url, json=dict(plan), headers=headers, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise StackError(
                f"{url} refuses a plan of faults ({error}); it needs ENVIRONMENT=development"
            ) from error

    def _print(self, what: str) -> None:
        self._console.print(what, highlight=False)


def is_struck(request: RequestRecord) -> bool:
    """Returns whether the shop's faults apply to the request: not to its admin, nor to what was refused."""
    return request.name.startswith("/v1/") and request.status != httpx.codes.UNAUTHORIZED


def _has_error_span(request: RequestRecord) -> bool:
    """Returns whether the trace has an error span; a sold-out order has one for the inventory call."""
    is_sold_out = request.method == "POST" and request.status == httpx.codes.CONFLICT
    return request.status >= httpx.codes.INTERNAL_SERVER_ERROR or is_sold_out


def _less(later: ServerCalls, earlier: ServerCalls) -> ServerCalls:
    def subtract(now: Mapping[str, float], then: Mapping[str, float]) -> dict[str, float]:
        return {
            name: count - then.get(name, 0.0) for name, count in now.items() if count > then.get(name, 0.0)
        }

    return ServerCalls(subtract(later.total, earlier.total), subtract(later.errors, earlier.errors))
