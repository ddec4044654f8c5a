"""The spool of a dead process, from fixed spans: how `tests/export/spool/golden` is made.

`python tests/support/golden_spool.py FOLDER` writes it with the code of this checkout. A version's folder is
written once, when its format is new, and never again: later versions must read it as it is.
"""

import sys
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from telemetry.export.otlp.spans import Encoder
from telemetry.export.spool.segment import Segment

OWNER = "12345-0123abcd"
FIRST_SECOND = 1_700_000_000
"""When the first record was written; each later one a second after."""
BATCHES = (("GET /products/{id}", "SELECT", "render"), ("sent before",), ("POST /orders", "größer ✓"))
"""The names of the spans in each record; the second record was sent."""


def payloads() -> list[bytes]:
    """Returns the encoded batches."""
    return [
        Encoder()
        .encode([_span(number * 10 + position, name) for position, name in enumerate(names, start=1)])
        .payload
        for number, names in enumerate(BATCHES, start=1)
    ]


def _span(number: int, name: str) -> ReadableSpan:
    start_ns = FIRST_SECOND * 10**9 - 10**9 + number
    return ReadableSpan(
        name,
        SpanContext(0xA0 << 120 | number, 0xB0 << 56 | number, is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({"service.name": "shop", "service.version": "1.2.3"}),
        attributes={"http.route": "/products/{id}", "number": number, "ratio": 0.5, "tags": ("a", "b")},
        kind=SpanKind.SERVER,
        instrumentation_scope=InstrumentationScope("telemetry"),
        status=Status(StatusCode.ERROR, "on purpose"),
        start_time=start_ns,
        end_time=start_ns + 5_000_000,
    )


def write(folder: Path) -> None:
    """Writes the owner directory into a folder."""
    owner = folder / OWNER
    owner.mkdir(parents=True)
    (owner / "lock").touch()
    segment = Segment(owner / "00000001.seg")
    for number, (payload, names) in enumerate(zip(payloads(), BATCHES, strict=True)):
        offset = segment.append(payload, len(names), (FIRST_SECOND + number) * 10**9)
        if names == ("sent before",):
            segment.acknowledge(offset, len(names))
    segment.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
