"""What telemetry adds to a request's own thread, from the committed result of `make bench-request`."""

import json
from pathlib import Path

import pytest

from benchmarks.calibration import RequestCost, read_request_cost

COST = RequestCost(sampled_us=60, unsampled_us=20, span_us=10, origin="here")


def test_committed_result_has_every_figure() -> None:
    """A new result that lacks one is found here, and not on a page."""
    cost = read_request_cost()
    assert 0 < cost.unsampled_us < cost.sampled_us < 1_000
    assert 0 < cost.span_us < 1_000
    assert cost.origin


def test_sending_is_not_in_it(tmp_path: Path) -> None:
    """It is measured where it is spent, so it would be counted twice."""
    medians = {
        "added CPU a request, in process, ours": 70,
        "added CPU a request, in process, ours unsampled": 30,
        "decorated function, sampled, caller's thread": 15,
        "decorated function, sampled, sending included": 24,
    }
    file = tmp_path / "request.json"
    content = {
        "amounts": [{"name": name, "median": median} for name, median in medians.items()],
        "machine": {"cpu": "a core"},
        "date": "2026-11-30",
    }
    file.write_text(json.dumps(content))
    assert read_request_cost(file) == RequestCost(61, 30, 15, "a core, 2026-11-30")
    content["amounts"] = content["amounts"][:-1]  # type: ignore[index]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has no 'decorated function, sampled, sending included': run `make"):
        read_request_cost(file)


@pytest.mark.parametrize(
    ("requests", "spans", "ratio", "microseconds"),
    [
        (10, 10, 1.0, 600),
        (10, 0, 0.0, 200),
        (10, 5, 0.5, 400),
        (10, 30, 1.0, 800),
        (10, 5, None, 400),
        (10, 40, None, 900),
        (0, 0, None, 0),
    ],
)
def test_cost_of_requests_and_of_spans_within(
    requests: float, spans: float, ratio: float | None, microseconds: float
) -> None:
    """A sampler without a ratio is taken by the spans that it let through."""
    found = COST.seconds(requests=requests, spans=spans, sampling_ratio=ratio)
    assert found == pytest.approx(microseconds / 1e6)
