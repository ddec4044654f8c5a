"""Settings of the request side: the server span, what it says, and the request metrics."""

from typing import Literal

from pydantic import FiniteFloat

from .declaration import Settings, setting
from .values import Buckets, Names, Paths, Patterns

LATENCY_BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_HEADERS = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS"


class RequestSettings(Settings):
    """What is traced and measured of a request. Read as `TelemetryConfig`."""

    excluded_urls: Paths = setting(())
    """Paths neither traced nor counted, in addition to health and metrics: /live,/internal/*."""
    trace_response: bool = setting(False)
    """`true`: answers carry a traceresponse header."""
    instrumentation: Literal["native", "contrib"] = setting("native")
    """Who makes the server span: this library, or `contrib`, opentelemetry-instrumentation-fastapi."""
    semconv_opt_in: Names = setting((), "OTEL_SEMCONV_STABILITY_OPT_IN")
    """`http/dup`: server spans carry the old HTTP attributes beside the stable ones."""
    redacted_query: Names = setting(())
    """Query parameters whose values spans hide, beside those that the conventions name: `token,api_key`."""
    captured_request_headers: Patterns = setting((), f"{_HEADERS}_SERVER_REQUEST")
    """Request headers that server spans carry, as names or regular expressions: `x-tenant,accept.*`."""
    captured_response_headers: Patterns = setting((), f"{_HEADERS}_SERVER_RESPONSE")
    """Response headers that server spans carry, as names or regular expressions: `content-type,x-.*`."""
    sanitized_headers: Patterns = setting((), f"{_HEADERS}_SANITIZE_FIELDS")
    """Headers whose values spans hide, as names or regular expressions: `.*session.*,x-api-key`."""
    http_metrics: Literal["app", "standard", "both"] = setting("app")
    """Request metrics: `app_request_*`, the semantic conventions' `http_server_*`, or both."""
    latency_buckets_ms: Buckets = setting(LATENCY_BUCKETS_MS)
    """Upper bounds of the latency histograms' buckets, ascending, in milliseconds: 5,50,500."""
    max_label_sets: int = setting(2_000, ge=1)
    """The most label sets of each metric; what comes beyond is counted under `other`."""
    slow_call_ms: FiniteFloat = setting(500, ge=0)
    """A measured call slower than this many milliseconds is logged."""
