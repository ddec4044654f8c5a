"""The longest value that `tracestate` takes."""

import pytest
from opentelemetry.trace import TraceState

from telemetry.tracing.threshold import threshold_of, with_threshold


@pytest.mark.parametrize(("length", "is_kept"), [(256, True), (257, False)])
def test_value_of_256_characters_is_whole_and_a_longer_one_loses_its_last_member(
    length: int, is_kept: bool
) -> None:
    """The limit of a value (W3C Trace Context) is inclusive."""
    written = "th:e6666666666666;"
    member = "x:" + "y" * (length - len(written) - 2)
    found = with_threshold(TraceState([("ot", member)]), threshold_of(0.1))
    assert found is not None
    assert found["ot"] == (written + member if is_kept else written.rstrip(";"))
