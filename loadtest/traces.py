"""Looks up each trace of a run in Jaeger: is it there, complete, with the spans of every service?"""

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
    """The result of looking up a run's traces in Jaeger."""

    asked: int
    missing: tuple[str, ...]
    """Ids of the traces of which Jaeger has nothing."""
    incomplete: Mapping[str, str]
    """What is missing of each incomplete trace, by its id."""
    spans: int
    """Number of distinct spans in all traces."""

    @property
    def is_whole(self) -> bool:
        """Whether any traces were looked up, and all of them are there and complete."""
        return self.asked > 0 and not self.missing and not self.incomplete


def sampled(requests: Iterable[RequestRecord]) -> dict[str, frozenset[str]]:
    """Returns the ids of traces that responses reported as sampled, each with the services it must have."""
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
    """Looks up each trace by its id, repeatedly while it is incomplete: spans may still be on their way.

    Args:
        jaeger: the Jaeger to query.
        traces: the services that each trace must have spans of, by trace id.
        spans: the number of spans in all traces, if known; once so many are found, the lookup ends.
        seconds: how long to keep looking.
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
    """Counts the traces of which Jaeger has any span; each is looked up once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sum(count > 0 for count, _ in pool.map(lambda it: _look_up_one(jaeger, it, ()), trace_ids))


def threshold_members(jaeger: Jaeger, trace_ids: Collection[str]) -> frozenset[str]:
    """Returns the distinct `ot` members of the spans' tracestates; an empty text for a span without one."""

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
    """Returns the number of distinct spans, and what is missing, if anything."""
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
    return len(spans), f"{absent_parents} parent span(s)" if absent_parents else ""
