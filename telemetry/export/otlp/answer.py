"""What an accepted export was answered: an `ExportTraceServiceResponse`, which may reject a part."""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from .response import Fate, Outcome

LONGEST_ANSWER_BYTES = 4 * 2**20
"""More is no answer but a fault (OTLP specification)."""
NO_OTLP = "no_otlp"
"""The kind of an accepted export whose answer suggests that no Collector took it."""


def from_accepted(body: bytes) -> Outcome:
    """Classifies the body that came with success; an empty one is a full success."""
    if not body:
        return Outcome(Fate.DELIVERED)
    try:
        answer = ExportTraceServiceResponse.FromString(body)
    except DecodeError:
        return suspected("no OTLP")
    partial = answer.partial_success
    return Outcome(
        Fate.DELIVERED, detail=escaped(partial.error_message), rejected=max(0, partial.rejected_spans)
    )


def escaped(text: str) -> str:
    """A server's text as one line for people: what would not be printed as itself is shown escaped.

    Ends of lines and control sequences could else forge lines of a log, or change a terminal.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def suspected(what: str) -> Outcome:
    """Success by its status, from something that a Collector would not answer."""
    return Outcome(Fate.DELIVERED, NO_OTLP, f"the answer is {what}: is this endpoint a Collector?")
