"""The format of /metrics is what the scraper's `Accept` header prefers, read as RFC 9110 says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from telemetry.metrics.accept import choose_format
from telemetry.metrics.exposition import render

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
TEXT = "text/plain; version=0.0.4"
TEXT_1 = "text/plain; version=1.0.0"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        (PROMETHEUS_2, OPEN_METRICS),
        (PROMETHEUS_3, f"{OPEN_METRICS}; escaping=allow-utf-8"),
        ("application/openmetrics-text", OPEN_METRICS),
        ("text/plain", TEXT),
        ("text/plain;version=1.0.0", TEXT_1),
        ("text/*", TEXT),
        ("application/*", OPEN_METRICS),
    ],
)
def test_scrapers_get_the_format_that_they_know(accept: str, expected: str) -> None:
    """A browser and curl get plain text, a Prometheus OpenMetrics, which has exemplars."""
    assert choose_format(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", TEXT),
        ("text/plain;q=0.1, application/openmetrics-text;q=0.9", OPEN_METRICS),
        ("text/plain;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5", TEXT_1),
        ("text/plain;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.6", TEXT),
        ("application/openmetrics-text;q=0.001, text/plain;q=0", OPEN_METRICS),
        ("*/*;q=0.9, application/openmetrics-text;q=0.5", TEXT),
        ("*/*;q=0.5, application/openmetrics-text;q=0.5", OPEN_METRICS),
        ("text/plain, application/openmetrics-text", OPEN_METRICS),
    ],
)
def test_the_highest_weight_wins(accept: str, expected: str) -> None:
    """Between equals OpenMetrics does, if the scraper names it."""
    assert choose_format(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain;q=0, */*", OPEN_METRICS),
        ("text/*;q=0, */*;q=0.1", OPEN_METRICS),
        ("application/openmetrics-text;q=0, */*", TEXT),
        ("application/openmetrics-text;q=0, application/*, text/*;q=0.1", TEXT),
        (
            "application/openmetrics-text, application/openmetrics-text;version=1.0.0;q=0.1, text/*;q=0.5",
            TEXT,
        ),
        ("application/openmetrics-text;q=0, application/openmetrics-text;version=1.0.0", OPEN_METRICS),
        ("text/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5", OPEN_METRICS),
    ],
)
def test_the_most_specific_range_decides_on_a_format(accept: str, expected: str) -> None:
    """A weight of 0 means that it is not acceptable, whatever a wider range says."""
    assert choose_format(accept) == expected


@pytest.mark.parametrize(
    "accept",
    [
        *("application/openmetrics-text;version=0.0.1", "application/openmetrics-text;version=2.0.0"),
        *("application/openmetrics-text;charset=latin-1", "application/openmetrics-text;q=0"),
        *("application/json", "*/*;q=0", "*/*;version=1.0.0", "text/plain;q=0"),
    ],
)
def test_where_nothing_is_acceptable_plain_text_is_sent(accept: str) -> None:
    """Any page serves a scraper better than 406."""
    assert choose_format(accept) == TEXT


@pytest.mark.parametrize(
    "accept",
    [
        *("application/openmetrics-text;q=abc", "application/openmetrics-text;q=1.5"),
        *("application/openmetrics-text;q=-1", "application/openmetrics-text;q=0.1234"),
        *("application/openmetrics-text;version", "application", "/", ";", '"', "\\", ",,;;=", "q=1"),
        *("application/openmetrics-text/x", "application/openmetrics text", '"application/openmetrics-text"'),
        'text/html;x="a,application/openmetrics-text,b"',
    ],
)
def test_malformed_elements_are_left_out(accept: str) -> None:
    """Plain text is sent if nothing else was asked for."""
    assert choose_format(accept) == TEXT
    if '"' not in accept:
        assert choose_format(f"{accept}, application/openmetrics-text") == OPEN_METRICS


@pytest.mark.parametrize(
    "accept",
    [
        "APPLICATION/OpenMetrics-Text ; Version=1.0.0 ; Q=0.5",
        'application/openmetrics-text;version="1.0.0"',
        'application/openmetrics-text;version="1\\.0.0"',
        "application/openmetrics-text; charset=UTF-8;;",
        ",\tapplication/openmetrics-text ,",
        'text/html;x="\\",";q=0.9, application/openmetrics-text',
    ],
)
def test_case_space_and_quotes_do_not_matter(accept: str) -> None:
    """Names and these values are case-insensitive; empty elements are allowed."""
    assert choose_format(accept) == OPEN_METRICS


@pytest.mark.parametrize("escaping", ["allow-utf-8", "underscores", "dots", "values"])
def test_escaping_is_the_one_asked_for(escaping: str) -> None:
    """That of the range that won; an unknown one is left to prometheus_client."""
    accept = f"text/plain;version=1.0.0;escaping=values, application/openmetrics-text;escaping={escaping}"
    assert choose_format(accept) == f"{OPEN_METRICS}; escaping={escaping}"
    assert choose_format("application/openmetrics-text;escaping=runes") == OPEN_METRICS


def test_prometheus_gets_exemplars() -> None:
    """With the header that it really sends, and the content type that prometheus_client has for it."""
    registry = CollectorRegistry()
    Counter("jobs", "Jobs.", registry=registry).inc(exemplar={"trace_id": "ab" * 16})
    page, content_type = render(list(registry.collect()), PROMETHEUS_3)
    assert content_type == choose_encoder(PROMETHEUS_3)[1]
    (family,) = text_string_to_metric_families(page.decode())
    assert family.samples[0].exemplar.labels == {"trace_id": "ab" * 16}  # type: ignore[union-attr]


@given(st.text('*/;,=.q"\\ apt10-', max_size=60) | st.text(max_size=20))
def test_any_header_gets_a_format(accept: str) -> None:
    """Whatever is sent."""
    assert choose_format(accept).partition(";")[0] in {"text/plain", "application/openmetrics-text"}
    assert render([], accept)[1].startswith(("text/plain", "application/openmetrics-text"))


@pytest.mark.parametrize("part", [";   ", '\\"', '"', ",", ";a=b", ',text/plain;version="'])
def test_long_headers_are_read_in_one_pass(part: str) -> None:
    """As long as any that a server lets through; one that took exponential time would never end."""
    accept = "text/plain" + part * (65_536 // len(part))
    assert choose_format(accept) in {TEXT, OPEN_METRICS}
