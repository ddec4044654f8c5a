"""Asks Jaeger for each trace of a run by its id: is it there, whole, with the spans of every service?"""

import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from loadtest.load.requests_file import RequestRecord
from stack.backends.jaeger import Jaeger
from stack.health import NotYetError
from stack.services import SERVICE_NAMES, STOREFRONT

_AT_ONCE = 4
_PAUSE_SECONDS = 0.5
_SERVICES_OF_AN_ORDER = frozenset(SERVICE_NAMES)
_ANSWERS_OF_THE_INVENTORY = frozenset({HTTPStatus.CREATED, HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class StoredTraces:
    """What Jaeger has of a run's traces."""

    asked: int
    missing: tuple[str, ...]
    """Traces of which it has nothing."""
    incomplete: Mapping[str, str]
    """Trace id → what it lacks."""
    spans: int
    """Different spans, over all of them."""

    @property
    def is_whole(self) -> bool:
        """Whether there were any, and all are there as they were made."""
        return self.asked > 0 and not self.missing and not self.incomplete


def sampled(requests: Iterable[RequestRecord]) -> dict[str, frozenset[str]]:
    """The trace ids whose answers said that they are sampled, each with the services that must be in it."""
    return {
        record.trace_id: _SERVICES_OF_AN_ORDER
        if record.method == "POST" and record.status in _ANSWERS_OF_THE_INVENTORY
        else frozenset({STOREFRONT.name})
        for record in requests
        if record.trace_id and record.is_sampled
    }


def look_up(
    jaeger: Jaeger, traces: Mapping[str, Collection[str]], *, spans: int | None, seconds: float
) -> StoredTraces:
    """Asks for each trace by its id, again while it is not whole: what was sent may be on its way.

    Args:
        jaeger: whom to ask.
        traces: the services that a trace must hold, by its id.
        spans: how many there are in all of them, if known; with so many found nobody is asked again.
        seconds: how long to ask.
    """
    found: dict[str, tuple[int, str]] = dict.fromkeys(traces, (0, "everything"))
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while True:
            lacking = [trace_id for trace_id, (_, lack) in found.items() if lack]
            answers = pool.map(lambda trace_id: _look_up_one(jaeger, trace_id, traces[trace_id]), lacking)
            found.update(zip(lacking, answers, strict=True))
            is_done = spans is not None and sum(count for count, _ in found.values()) >= spans
            if is_done or not lacking or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
    return StoredTraces(
        asked=len(found),
        missing=tuple(trace_id for trace_id, (count, _) in found.items() if not count),
        incomplete={trace_id: lack for trace_id, (count, lack) in found.items() if count and lack},
        spans=sum(count for count, _ in found.values()),
    )


def count_stored(jaeger: Jaeger, trace_ids: Collection[str]) -> int:
    """How many of these traces Jaeger has anything of; each is asked for once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(count > 0 for count, _ in pool.map(lambda it: _look_up_one(jaeger, it, ()), trace_ids))


def threshold_members(jaeger: Jaeger, trace_ids: Collection[str]) -> frozenset[str]:
    """Every different `ot` member of the tracestate of these traces' spans; empty text for a span without."""

    def members(trace_id: str) -> set[str]:
        try:
            by_service = jaeger.spans(trace_id)
        except NotYetError:
            return set()
        states = (span.get("traceState", "") for spans in by_service.values() for span in spans)
        return {next((it for it in state.split(",") if it.startswith("ot=")), "") for state in states}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return frozenset().union(*pool.map(members, trace_ids))


def _look_up_one(jaeger: Jaeger, trace_id: str, services: Collection[str]) -> tuple[int, str]:
    """How many different spans there are, and what is lacking."""
    try:
        by_service = jaeger.spans(trace_id)
    except NotYetError:
        return 0, "everything"
    spans = {span["spanId"]: span for service in by_service.values() for span in service}
    absent = sorted(set(services) - {name for name, of_it in by_service.items() if of_it})
    if absent:
        return len(spans), f"spans of {', '.join(absent)}"
    parents = {span["parentSpanId"] for span in spans.values() if span.get("parentSpanId")}
    absent_parents = len(parents - spans.keys())
    return len(spans), f"{absent_parents} span(s) that others hang from" if absent_parents else ""
