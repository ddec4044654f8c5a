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
# Those of the semantic conventions (HTTP metrics), which OpenTelemetry's Prometheus exporters name so.
HTTP_DURATION_SECONDS = "http_server_request_duration_seconds"
HTTP_ACTIVE_REQUESTS = "http_server_active_requests"
HTTP_REQUEST_BODY_BYTES = "http_server_request_body_size_bytes"
HTTP_RESPONSE_BODY_BYTES = "http_server_response_body_size_bytes"
OTEL_HTTP_DURATION = "http.server.request.duration"
OTEL_HTTP_ACTIVE_REQUESTS = "http.server.active_requests"
OTEL_HTTP_REQUEST_BODY = "http.server.request.body.size"
OTEL_HTTP_RESPONSE_BODY = "http.server.response.body.size"

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
PUSH_BREAKER_STATE = "telemetry_push_breaker_state"
PUSH_BREAKER_TRANSITIONS = "telemetry_push_breaker_transitions"
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
CPU_SECONDS = "telemetry_cpu_seconds"
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
STAGE = "stage"
FROM = "from"
TO = "to"
KIND = "kind"
WORKER = "worker"
HTTP_METHOD = "http_request_method"
HTTP_ROUTE = "http_route"
HTTP_STATUS_CODE = "http_response_status_code"
HTTP_SCHEME = "url_scheme"
HTTP_VERSION = "network_protocol_version"

OTHER = "other"
"""The value of a label once its metric has as many label sets as `TELEMETRY_MAX_LABEL_SETS` allows."""
UNMATCHED_ROUTE = "unmatched"
"""The `route` of a request that no route of the application matched."""
OTHER_METHOD = "_OTHER"
"""The `method` of a request whose HTTP method is unknown (semantic conventions, HTTP)."""
