"""The encoder's field numbers match the protocol's own description."""

import pytest
from google.protobuf.descriptor import Descriptor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from telemetry.export.otlp import field_numbers

MESSAGES: dict[str, tuple[Descriptor, ...]] = {
    "REQUEST_": (ExportTraceServiceRequest.DESCRIPTOR,),
    "RESOURCE_SPANS_": (ResourceSpans.DESCRIPTOR,),
    "SCOPE_SPANS_": (ScopeSpans.DESCRIPTOR,),
    "SCHEMA_": (ResourceSpans.DESCRIPTOR, ScopeSpans.DESCRIPTOR),
    "RESOURCE_": (Resource.DESCRIPTOR,),
    "SCOPE_": (InstrumentationScope.DESCRIPTOR,),
    "SPAN_": (Span.DESCRIPTOR,),
    "EVENT_": (Span.Event.DESCRIPTOR,),
    "LINK_": (Span.Link.DESCRIPTOR,),
    "STATUS_": (Status.DESCRIPTOR,),
    "KEY_VALUE_": (KeyValue.DESCRIPTOR,),
    "VALUE_": (AnyValue.DESCRIPTOR,),
    "LIST_": (ArrayValue.DESCRIPTOR, KeyValueList.DESCRIPTOR),
}
NAMES = [name for name in vars(field_numbers) if name.isupper()]


@pytest.mark.parametrize("name", NAMES)
def test_number_is_the_protocols(name: str) -> None:
    """Each constant's name gives its message and field."""
    prefix = next(each for each in MESSAGES if name.startswith(each))
    field = "schema_url" if name == "SCHEMA_URL" else name.removeprefix(prefix).lower()
    for message in MESSAGES[prefix]:
        known = message.fields_by_name.get(field) or message.fields_by_name[f"{field}_value"]
        assert getattr(field_numbers, name) == known.number
