"""The sampling threshold of a trace, and how `tracestate` carries it.

It follows "TraceState: Probability Sampling" of the OpenTelemetry specification. A trace has 56 random bits,
the same for all samplers; it is kept if they reach the threshold. Samplers with different ratios thus agree:
whatever the stricter one keeps, the other keeps too. `ot=th:…` shows how many traces each kept one
represents: 2^56 / (2^56 - threshold).
"""

from opentelemetry.trace import TraceState

ALL = 0
"""The threshold that keeps every trace."""
NONE = 1 << 56
"""The threshold that keeps no trace; it cannot be written, and need not be."""

_KEY = "ot"
_DIGITS = 14
_MOST_MEMBERS = 32
_LONGEST_VALUE = 256
_HEXADECIMAL = frozenset("0123456789abcdef")


def threshold_of(ratio: float) -> int:
    """Returns the threshold that keeps this share of traces, to the nearest of 2^56 steps."""
    return NONE - round(ratio * NONE)


def encode_threshold(threshold: int) -> str:
    """Encodes a threshold below `NONE` as hexadecimal digits without trailing zeros."""
    return f"{threshold:014x}".rstrip("0") or "0"


def randomness_of(trace_id: int, trace_state: TraceState | None) -> int:
    """Returns the trace's random bits: those that it carries (`rv`), else the trace id's last 56."""
    for member in _members(trace_state):
        digits = member.removeprefix("rv:")
        if digits != member and len(digits) == _DIGITS and _HEXADECIMAL.issuperset(digits):
            return int(digits, 16)
    return trace_id & (NONE - 1)


def with_threshold(trace_state: TraceState | None, threshold: int | None) -> TraceState | None:
    """Returns the state with its threshold replaced by this one, or removed if it is None."""
    others = [member for member in _members(trace_state) if not member.startswith("th:")]
    # A value that is too long loses its last members, but never the bits by which later samplers decide.
    others.sort(key=lambda member: not member.startswith("rv:"))
    if threshold is not None:
        others.insert(0, f"th:{encode_threshold(threshold)}")
    while others and len(";".join(others)) > _LONGEST_VALUE:
        others.pop()  # never the threshold: one member alone is never too long
    kept = [(key, value) for key, value in (trace_state or {}).items() if key != _KEY]
    if others:
        # The changed member goes first; if there are too many, the last one is left out (W3C Trace Context).
        kept = [(_KEY, ";".join(others)), *kept[: _MOST_MEMBERS - 1]]
    return TraceState(kept) if kept else None


def _members(trace_state: TraceState | None) -> list[str]:
    value = trace_state.get(_KEY, "") if trace_state else ""
    return value.split(";") if value else []
