"""The encoder matches the official one for every field and type, and never fails on a span's contents."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from telemetry.export.otlp import attributes as attributes_module
from telemetry.export.otlp import reading
from telemetry.export.otlp import spans as encoder_module
from telemetry.export.otlp.spans import Encoder

TEXT = st.text(max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(TEXT, st.booleans(), INTEGERS, st.floats(allow_nan=False), st.binary(max_size=10))
VALUES = st.recursive(
    st.one_of(SCALARS, st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXT, inner, max_size=3),
    ),
    max_leaves=6,
)
# The SDK itself drops an empty key.
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=20), VALUES, max_size=5)
TIMES = st.integers(0, 2**64 - 1)
WORDS = st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True)
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    trace_state=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True),
        max_size=3,
    ).map(lambda pairs: TraceState(list(pairs.items()))),
)
EVENTS = st.builds(Event, name=TEXT, attributes=ATTRIBUTES, timestamp=TIMES)
LINKS = st.builds(Link, context=CONTEXTS, attributes=ATTRIBUTES)
STATUSES = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.one_of(st.none(), TEXT)),
)
RESOURCES = st.builds(Resource, ATTRIBUTES, st.sampled_from(["", "https://example.org/schema"]))
# A scope without a name would be encoded like a missing scope.
SCOPES = st.builds(
    InstrumentationScope,
    st.text(min_size=1, max_size=20),
    TEXT,
    st.sampled_from(["", "https://example.org/scope"]),
    ATTRIBUTES,
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXT,
    context=CONTEXTS,
    parent=st.one_of(st.none(), CONTEXTS),
    resource=st.shared(RESOURCES, key="resource"),
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=3),
    links=st.lists(LINKS, max_size=3),
    kind=st.sampled_from(list(SpanKind)),
    status=STATUSES,
    start_time=TIMES,
    end_time=TIMES,
    instrumentation_scope=st.one_of(st.none(), st.shared(SCOPES, key="scope"), SCOPES),
)


def parse(payload: bytes) -> ExportTraceServiceRequest:
    """Parses a payload as the Collector does."""
    return ExportTraceServiceRequest.FromString(payload)


def spans_in(request: ExportTraceServiceRequest) -> list[Any]:
    """Returns every span of a request."""
    return [span for r in request.resource_spans for s in r.scope_spans for span in s.spans]


@given(st.lists(SPANS, min_size=1, max_size=6))
def test_message_is_the_official_encoders(spans: list[ReadableSpan]) -> None:
    """Parsed, both are equal in every field, also when encoded again from the caches."""
    official = encode_spans(spans)
    encoder = Encoder()
    for _ in range(2):
        batch = encoder.encode(spans)
        assert parse(batch.payload) == official
    assert batch.spans == len(spans)
    assert (encoder.unencodable, encoder.lost_attributes) == (0, 0)


def make_span(**changes: Any) -> ReadableSpan:
    """Returns a plain span with some fields changed."""
    fields: dict[str, Any] = {
        "name": "work",
        "context": SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
        "resource": Resource({"service.name": "shop"}),
        "start_time": 1,
        "end_time": 2,
        "instrumentation_scope": InstrumentationScope("test"),
    }
    return ReadableSpan(**{**fields, **changes})


def as_found(attributes: dict[str, Any]) -> dict[str, Any]:
    """Returns attributes in the SDK's own containers, with empty lists of events and links."""
    return {
        "attributes": BoundedAttributes(attributes=attributes),
        "events": BoundedList(1),
        "links": BoundedList(1),
    }


@given(st.lists(st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3), min_size=1, max_size=20))
def test_cached_attributes_keep_their_types_and_values(attributes: list[dict[str, Any]]) -> None:
    """1, True and 1.0 are equal as cache keys but different values."""
    spans = [make_span(**as_found(each)) for each in attributes]
    assert parse(Encoder().encode(spans).payload) == encode_spans(spans)


@pytest.mark.parametrize("is_quick", [True, False])
def test_real_tracers_spans_are_equal_too(is_quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own containers are read equally in both ways, including their dropped counts."""
    assert reading.READERS[ReadableSpan] is reading.read_sdk, "this SDK's names are not known"
    if not is_quick:
        monkeypatch.delitem(reading.READERS, ReadableSpan)
    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    with provider.get_tracer("shop", "1.0").start_as_current_span("outer") as outer:
        outer.set_attributes({f"key.{number}": number for number in range(200)})
        for number in range(200):
            outer.add_event(f"event {number}", {"list": ["a", "b"]})
        with provider.get_tracer("shop").start_as_current_span("inner", kind=SpanKind.CLIENT) as inner:
            inner.record_exception(ValueError("no"))
            inner.set_status(StatusCode.ERROR, "no")
    assert parse(Encoder().encode(ended).payload) == encode_spans(ended)


class Unspeakable:
    """A value that has no OTLP type and whose `str()` raises."""

    def __str__(self) -> str:
        raise RuntimeError("do not ask")

    __repr__ = __str__


def endless() -> list[Any]:
    """Returns a list that contains itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    "value", [Unspeakable(), 2**63, -(2**63) - 1, {1, 2}, 1j, [1, Unspeakable()], {"a": {1}}, endless()]
)
def test_attribute_that_otlp_cannot_carry_costs_only_itself(value: Any) -> None:
    """The attribute is left out and counted in the span's dropped attributes."""
    encoder = Encoder()
    (span,) = spans_in(parse(encoder.encode([make_span(attributes={"bad": value, "good": 1})]).payload))
    assert [attribute.key for attribute in span.attributes] == ["good"]
    assert span.dropped_attributes_count == 1
    assert (encoder.lost_attributes, encoder.unencodable) == (1, 0)


@pytest.mark.parametrize(
    "place",
    [
        lambda bad: {"name": bad},
        lambda bad: {"attributes": {bad: 1}},
        lambda bad: {"attributes": {"key": bad}},
        lambda bad: {"attributes": {"key": [bad]}},
        lambda bad: {"events": [Event(bad, {}, 1)]},
        lambda bad: {"status": Status(StatusCode.ERROR, bad)},
        lambda bad: {"resource": Resource({"service.name": bad})},
        lambda bad: {"instrumentation_scope": InstrumentationScope(bad)},
    ],
    ids=["name", "key", "value", "list", "event", "status", "resource", "scope"],
)
def test_text_that_is_not_unicode_costs_its_bad_characters(place: Callable[[str], dict[str, Any]]) -> None:
    """Lone surrogates result from `surrogateescape` and broken file names."""
    batch = Encoder().encode([make_span(**place("caf\udce9"))])
    assert batch.spans == 1
    assert "caf?" in str(parse(batch.payload))


@pytest.mark.parametrize(
    "changes",
    [
        {"start_time": -1},
        {"end_time": 2**64},
        {"end_time": None},
        {"context": None},
        {"name": Unspeakable(), "end_time": None},
        {"kind": 17},
        {"events": [Event("e", {}, -5)]},
        {"context": SpanContext(2**128, 1, is_remote=False)},
    ],
)
def test_span_that_cannot_be_written_costs_only_itself(changes: dict[str, Any]) -> None:
    """Its neighbours are still encoded."""
    encoder = Encoder()
    batch = encoder.encode([make_span(name="before"), make_span(**changes), make_span(name="after")])
    assert [span.name for span in spans_in(parse(batch.payload))] == ["before", "after"]
    assert (batch.spans, encoder.unencodable) == (2, 1)
    name = changes.get("name", make_span().name)
    named = f"<{type(name).__name__} instance" if isinstance(name, Unspeakable) else f"{name!r} ("
    assert encoder.latest_unencodable.startswith(named)


def test_nothing_but_poison_is_an_empty_batch() -> None:
    """A batch without spans has no payload."""
    batch = Encoder().encode([make_span(start_time=-1)])
    assert (batch.payload, batch.spans) == (b"", 0)
    assert Encoder().encode([]).payload == b""


def test_equal_values_of_different_types_keep_their_types() -> None:
    """True, 1 and 1.0 are one dictionary key but three different attributes."""
    encoder = Encoder()
    for value, field in ((1, "int_value"), (True, "bool_value"), (1.0, "double_value"), (1, "int_value")):
        (span,) = spans_in(parse(encoder.encode([make_span(attributes={"key": value})]).payload))
        assert span.attributes[0].value.WhichOneof("value") == field
    for value in (0.0, -0.0):
        (span,) = spans_in(parse(encoder.encode([make_span(attributes={"key": value})]).payload))
        assert math.copysign(1, span.attributes[0].value.double_value) == math.copysign(1, value)


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many values nor long ones make the caches grow beyond their limits."""
    for module in (encoder_module, attributes_module):
        monkeypatch.setattr(module, "MOST_CACHED", 10)
    encoder = Encoder()
    for number in range(100):
        attributes = {"text": str(number), "number": number, "long": "x" * 1_000 + str(number)}
        encoder.encode(
            [
                make_span(
                    name=str(number),
                    attributes=attributes,
                    resource=Resource({"n": number}),
                    instrumentation_scope=InstrumentationScope(str(number)),
                )
            ]
        )
    caches = [value for value in vars(encoder).values() if isinstance(value, dict)]
    assert len(caches) == 3
    assert all(0 < len(cache) <= 10 for cache in caches)
    keys = encoder._attributes._keys
    fields = [field for key in keys.values() for field in key.fields.values()]
    assert 0 < len(keys) + len(fields) <= 10
    assert max(map(len, fields)) < 300


@given(st.lists(SPANS, min_size=2, max_size=9))
def test_halves_hold_every_span_once_and_in_order(spans: list[ReadableSpan]) -> None:
    """Each span keeps its resource and scope, and both halves are valid requests."""
    whole = Encoder().encode(spans)
    first, second = whole.halves()
    assert (first.spans, second.spans) == (len(spans) // 2, len(spans) - len(spans) // 2)
    requests = parse(first.payload), parse(second.payload)
    assert [len(spans_in(each)) for each in requests] == [first.spans, second.spans]

    def placed(request: ExportTraceServiceRequest) -> list[bytes]:
        return [
            r.resource.SerializeToString(deterministic=True)
            + s.scope.SerializeToString(deterministic=True)
            + (r.schema_url + s.schema_url).encode()
            + span.SerializeToString(deterministic=True)
            for r in request.resource_spans
            for s in r.scope_spans
            for span in s.spans
        ]

    assert placed(requests[0]) + placed(requests[1]) == placed(parse(whole.payload))


def test_one_span_has_no_halves() -> None:
    """The caller must check first."""
    with pytest.raises(ValueError, match="a batch of 1 span"):
        Encoder().encode([make_span()]).halves()
