"""The sampling threshold of a trace, and how `tracestate` carries it.

After "TraceState: Probability Sampling" of the OpenTelemetry specification. A trace has 56 random bits, the
same for all who see it; it is kept where they reach the threshold. So two who keep different shares agree:
whatever the stricter one keeps, the other keeps too. `ot=th:…` tells how many traces each one that was kept
stands for: 2^56 / (2^56 - threshold).
"""

from opentelemetry.trace import TraceState

ALL = 0
"""The threshold that keeps every trace."""
NONE = 1 << 56
"""The threshold that keeps none; it cannot be written, nor need it be."""

_KEY = "ot"
_DIGITS = 14
_MOST_MEMBERS = 32
_LONGEST_VALUE = 256
_HEXADECIMAL = frozenset("0123456789abcdef")


def threshold_of(ratio: float) -> int:
    """The threshold that keeps this share of traces, to the nearest of 2^56 steps."""
    return NONE - round(ratio * NONE)


def encode_threshold(threshold: int) -> str:
    """A threshold below `NONE` as hexadecimal digits, without the zeros at its end."""
    return f"{threshold:014x}".rstrip("0") or "0"


def randomness_of(trace_id: int, trace_state: TraceState | None) -> int:
    """The trace's random bits: those that it carries (`rv`), else the trace id's last 56."""
    for member in _members(trace_state):
        digits = member.removeprefix("rv:")
        if digits != member and len(digits) == _DIGITS and _HEXADECIMAL.issuperset(digits):
            return int(digits, 16)
    return trace_id & (NONE - 1)


def with_threshold(trace_state: TraceState | None, threshold: int | None) -> TraceState | None:
    """The state with this threshold in place of the one it has; with None, without any."""
    others = [member for member in _members(trace_state) if not member.startswith("th:")]
    # Of too long a value what comes last is left out: never the bits that whoever is asked later decides by.
    others.sort(key=lambda member: not member.startswith("rv:"))
    if threshold is not None:
        others.insert(0, f"th:{encode_threshold(threshold)}")
    while others and len(";".join(others)) > _LONGEST_VALUE:
        others.pop()  # a later one than the threshold: one alone is never too long
    kept = [(key, value) for key, value in (trace_state or {}).items() if key != _KEY]
    if others:
        # What was changed goes first; of too many members the last one is left out (W3C Trace Context).
        kept = [(_KEY, ";".join(others)), *kept[: _MOST_MEMBERS - 1]]
    return TraceState(kept) if kept else None


def _members(trace_state: TraceState | None) -> list[str]:
    value = trace_state.get(_KEY, "") if trace_state else ""
    return value.split(";") if value else []
