"""The query of what requests spend is the arithmetic of the calibration."""

import warnings

import pytest

from benchmarks.calibration import RequestCost
from telemetry.metrics import names

with warnings.catch_warnings():
    # The SDK's modules warn of one another while they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana.queries import CPU, calibrated_share, rate

COST = RequestCost(sampled_us=62.5, unsampled_us=29.5, span_us=15.8, origin="here")


@pytest.mark.parametrize(("requests", "spans", "ratio"), [(80, 400, 1.0), (80, 40, 0.1), (50, 0, 0.0)])
def test_query_agrees_with_the_calibration(requests: float, spans: float, ratio: float) -> None:
    """Of one service, with numbers in the place of its series."""
    query = calibrated_share("", COST)
    for part, value in (
        (rate(f"{names.REQUEST_COUNT}_total", by="job"), requests),
        (f"min by (job) ({names.SAMPLING_RATIO}{{}})", ratio),
        (rate(f"{names.SPANS_ENDED}_total"), spans),
        (rate(CPU), 0.5),
    ):
        assert part in query
        query = query.replace(part, f"{value}")
    share = eval(query.replace("sum", ""))  # noqa: S307 - numbers and operators are left
    expected = COST.seconds(requests=requests, spans=spans, sampling_ratio=ratio) / 0.5
    assert share == pytest.approx(expected)
