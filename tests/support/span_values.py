"""Strategies of what applications give to spans: good, odd and wrong values, keys, names and contexts."""

import datetime as dt
import decimal
import enum
import http
from collections import deque
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)


class Name(str):
    """A string with a text of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


class Rank(int):
    """An integer with a text of its own."""

    def __str__(self) -> str:
        return "first"


class Weight(float):
    """A float of a class of its own."""

    __slots__ = ()


class Colour(str, enum.Enum):  # noqa: UP042 - prints as "Colour.RED", unlike a StrEnum
    """A string enum as many applications still write it."""

    RED = "red"


class Plain:
    """Has neither a text nor a representation of its own."""


class Told:
    """Has a representation of its own."""

    def __repr__(self) -> str:
        return "told"


class DomainError(Exception):
    """An exception of a module of its own."""


_TOLD, _PLAIN = Told(), Plain()
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["caf\udce9", "x" * 300, "", "\x00", "🦊" * 5]))
KEYS = st.one_of(
    st.sampled_from(["a", "b", "c", "http.route", "🦊", "k" * 40]),
    st.text(max_size=3),
    st.sampled_from([Name("n"), Colour.RED, "caf\udce9"]),
)
_WRONG_KEYS = st.sampled_from([None, "", 0, 5, b"k", True, 1.5, ("a",), _TOLD, _PLAIN])
_SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.binary(max_size=4),
    st.none(),
)
_ODD = st.sampled_from(
    [
        *(Name("red"), Colour.RED, Rank(7), Weight(1.5), http.HTTPStatus.OK, http.HTTPMethod.GET),
        *(np.int64(3), np.float64(1.5), np.bool_(True), np.float32(0.5), np.array([1, 2])),
        *(bytearray(b"ab"), memoryview(b"ab"), range(3), deque([1, "a"]), MappingProxyType({"a": [1]})),
        *({1}, frozenset(), 1j, decimal.Decimal("1.5"), dt.date(2020, 1, 1), ..., int, KeyError("k")),
        *(_TOLD, _PLAIN, [_TOLD, _PLAIN], {"told": _TOLD, "plain": _PLAIN}, "long " * 2_000),
    ]
)
VALUES = st.recursive(
    st.one_of(_SCALARS, _ODD),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(KEYS, _WRONG_KEYS), inner, max_size=3),
    ),
    max_leaves=5,
)
ANY_KEYS = st.one_of(KEYS, KEYS, KEYS, _WRONG_KEYS)
ATTRIBUTES = st.one_of(st.none(), st.dictionaries(ANY_KEYS, VALUES, max_size=4))
TIMES = st.one_of(
    st.none(),
    st.none(),
    st.integers(0, 10**12),
    st.sampled_from([0, 1, -1, 2**63, 2**64 - 1, 2**64, 10**9]),
)
NAMES = st.one_of(TEXTS, TEXTS, st.sampled_from([Name("n"), Colour.RED, None, 5]))
KINDS = st.sampled_from(SpanKind)
_STATES = st.dictionaries(
    st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True), max_size=2
).map(lambda pairs: TraceState(list(pairs.items())))
VALID_CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3), TraceFlags(0xFF)]),
    trace_state=_STATES,
)
CONTEXTS = st.one_of(
    VALID_CONTEXTS,
    st.sampled_from([INVALID_SPAN_CONTEXT, SpanContext(0, 5, is_remote=True), SpanContext(2**128, 1, True)]),
    st.builds(SpanContext, st.just(0), st.just(0), st.just(False), st.just(TraceFlags(1)), _STATES),
)
DESCRIPTIONS = st.one_of(st.none(), TEXTS, st.sampled_from([5, b"text", Name("n")]))
CODES = st.sampled_from(StatusCode)
SAMPLING = st.lists(
    st.tuples(
        st.sampled_from([Decision.RECORD_AND_SAMPLE, Decision.RECORD_AND_SAMPLE, *Decision]),
        ATTRIBUTES,
        st.one_of(st.none(), _STATES),
    ),
    min_size=1,
    max_size=3,
)
_COUNTS = st.sampled_from([None, None, SpanLimits.UNSET, 0, 1, 2, 3])
_LENGTHS = st.sampled_from([None, None, SpanLimits.UNSET, 0, 1, 4])
LIMITS = st.one_of(
    st.none(),
    st.builds(
        SpanLimits,
        **dict.fromkeys(
            (
                *("max_attributes", "max_events", "max_links", "max_span_attributes"),
                *("max_event_attributes", "max_link_attributes"),
            ),
            _COUNTS,
        ),
        max_attribute_length=_LENGTHS,
        max_span_attribute_length=_LENGTHS,
    ),
)


def _raise_plain() -> None:
    raise ValueError("no")


def _raise_with_cause() -> None:
    try:
        _raise_plain()
    except ValueError as error:
        raise DomainError("outer", 5) from error


def _raise_in_handler() -> None:
    try:
        _raise_plain()
    except ValueError:
        {}["missing"]


def _raise_group() -> None:
    raise ExceptionGroup("several", [ValueError("a"), DomainError()])


def _raise_with_note() -> None:
    error = TypeError("caf\udce9")
    error.add_note("a note")
    raise error


def _raise_local() -> None:
    class LocalError(Exception):
        """An exception whose qualified name has dots."""

    raise LocalError


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


def _raise_exit() -> None:
    raise GeneratorExit


def _raise_stop() -> None:
    raise StopIteration("value")


def _return_early() -> None:
    """Raises nothing."""


Failing = Callable[[], None]
EVERY_FAILURE: list[Failing] = [
    *(_raise_plain, _raise_with_cause, _raise_in_handler, _raise_group, _raise_with_note),
    *(_raise_local, _raise_interrupt, _raise_exit, _raise_stop),
]
"""Functions that raise, each another exception."""
FAILURES = st.sampled_from(EVERY_FAILURE)
PERHAPS_FAILURES = st.one_of(st.just(_return_early), FAILURES)
