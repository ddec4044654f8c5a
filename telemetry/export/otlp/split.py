"""An encoded request, and how to split one that is too large without decoding its spans."""

from dataclasses import dataclass

from .field_numbers import (
    REQUEST_RESOURCE_SPANS,
    RESOURCE_SPANS_SCOPE_SPANS,
    SCOPE_SPANS_SPANS,
)
from .wire import delimited, fields


@dataclass(frozen=True, slots=True)
class Batch:
    """An encoded `ExportTraceServiceRequest`."""

    payload: bytes
    spans: int

    def halves(self) -> "tuple[Batch, Batch]":
        """Returns two batches with half of the spans each, in order.

        Raises:
            ValueError: there are fewer than two spans, or the payload was not written by the encoder.
        """
        if self.spans < 2:  # noqa: PLR2004 - one cannot be split
            raise ValueError(f"a batch of {self.spans} span(s) cannot be split")
        middle = self.spans // 2
        first: list[bytes] = []
        second: list[bytes] = []
        seen = 0
        for _, resource_spans, _ in fields(memoryview(self.payload)):
            resource, scopes = _apart(resource_spans, repeated=RESOURCE_SPANS_SCOPE_SPANS)
            for scope_spans in scopes:
                scope, spans = _apart(scope_spans, repeated=SCOPE_SPANS_SPANS)
                cut = max(0, min(len(spans), middle - seen))
                seen += len(spans)
                for half, part in ((first, spans[:cut]), (second, spans[cut:])):
                    if part:
                        body = scope + b"".join(delimited(SCOPE_SPANS_SPANS, bytes(span)) for span in part)
                        scopes_of_half = delimited(RESOURCE_SPANS_SCOPE_SPANS, body)
                        half.append(delimited(REQUEST_RESOURCE_SPANS, resource + scopes_of_half))
        return Batch(b"".join(first), middle), Batch(b"".join(second), self.spans - middle)


def _apart(message: memoryview, *, repeated: int) -> tuple[bytes, list[memoryview]]:
    """Returns a message's other fields, and the contents of a repeated one."""
    others, contents = [], []
    for number, content, whole in fields(message):
        if number == repeated:
            contents.append(content)
        else:
            others.append(whole)
    return b"".join(others), contents
