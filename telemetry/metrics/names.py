"""Every metric and label name of the library, in one place.

Dashboards, alerts and tests import these constants. Counters are named without `_total`:
prometheus_client adds it on the page, together with `_created`, so no other metric may take
those two names.
"""

# Recorded by the middleware, one observation per request.
REQUEST_COUNT = "app_request_count"
REQUEST_LATENCY_MS = "app_request_latency_ms"
ERROR_COUNT = "app_error_count"
# The same as OpenTelemetry instruments, when metrics are pushed.
OTEL_REQUEST_COUNT = "app.request.count"
OTEL_REQUEST_LATENCY_MS = "app.request.latency.ms"
OTEL_ERROR_COUNT = "app.error.count"

# Decorated functions.
FUNCTION_DURATION_MS = "app_function_duration_ms"
FUNCTION_ERROR_COUNT = "app_function_error_count"

# The pipeline: where each span went.
SPANS_ENDED = "telemetry_spans_ended"
SPANS_ADOPTED = "telemetry_spans_adopted"
SPANS = "telemetry_spans"
SPANS_PENDING = "telemetry_spans_pending"
BREAKER_STATE = "telemetry_breaker_state"
BREAKER_TRANSITIONS = "telemetry_breaker_transitions"
EXPORT_DURATION_SECONDS = "telemetry_export_duration_seconds"
EXPORT_BATCH_SPANS = "telemetry_export_batch_spans"
EXPORT_BYTES = "telemetry_export_bytes"
EXPORT_AGE_SECONDS = "telemetry_export_age_seconds"
EXPORT_FAILURES = "telemetry_export_failures"
QUEUE_CAPACITY = "telemetry_queue_capacity"
BUFFER_BYTES = "telemetry_buffer_bytes"
BUFFER_LIMIT_BYTES = "telemetry_buffer_limit_bytes"
SPOOL_BYTES = "telemetry_spool_bytes"
SPOOL_LIMIT_BYTES = "telemetry_spool_limit_bytes"
BATCH_SIZE_LIMIT = "telemetry_batch_size_limit"
SAMPLING_RATIO = "telemetry_sampling_ratio"
WORKERS = "telemetry_workers"

# Labels.
METHOD = "method"
ROUTE = "route"
STATUS_CODE = "status_code"
ERROR_TYPE = "error_type"
FUNCTION = "function"
OUTCOME = "outcome"
PLACE = "place"
STATE = "state"
FROM = "from"
TO = "to"
KIND = "kind"
WORKER = "worker"

UNMATCHED_ROUTE = "unmatched"
"""The `route` of a request that no route of the application matched."""
OTHER_METHOD = "_OTHER"
"""The `method` of a request whose HTTP method is unknown (semantic conventions, HTTP)."""
