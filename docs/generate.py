"""`python -m docs.generate`: writes docs/configuration.md from the settings themselves."""

from pathlib import Path
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from telemetry.config import TelemetryConfig
from telemetry.settings.declaration import descriptions_of
from telemetry.settings.presets import PRESETS

PAGE = Path(__file__).with_name("configuration.md")
_HEAD = """# Configuration

Every setting of the library. `TelemetryConfig()` reads the variables; each has a keyword argument too, as in
`TelemetryConfig(service_name="shop")`.

For each setting the first of these wins: the keyword argument, a standard `OTEL_*` variable, a short name
such as `SERVICE_NAME`, the preset of `ENVIRONMENT`, the default. Where a row names two variables, the first
one wins. `OTEL_RESOURCE_ATTRIBUTES` may give `service.name`, `service.version` and
`deployment.environment.name`; they win over the short names. An empty variable counts as unset.

A value that cannot be used stops the start with a message that names the variable, the value and the rule.
A `TELEMETRY_` variable that is no setting is logged once.

This page is written by `make docs`.

| variable | argument | default | values | |
|---|---|---|---|---|
"""
_NOTES = """
## Notes

- **Endpoint.** For `http/protobuf`, `/v1/traces` and `/v1/metrics` are added to the path of the general
  endpoint, before its query; an address of one signal is used as it is. What a URL cannot hold is
  percent-encoded; what is encoded already stays. A user and password in an address are sent as HTTP Basic
  authentication unless the headers have an `authorization`, and are percent-encoded where they hold one of
  `/ ? # @ : %`. Credentials of an endpoint or a header appear in no log and no health report.
- **Endpoint for gRPC.** Host and port, no path. Without a port it is 4317, with TLS 443. Beside URLs, gRPC's
  own names are taken: `host:port`, `dns:///host:port`, `dns://server/host:port`,
  `ipv4:10.0.0.1:4317,10.0.0.2:4317`, `ipv6:[::1]:4317`, `unix:/path`, `unix:///path` and
  `unix-abstract:name`. For `https://` there is TLS, for `http://` none; for the others
  `OTEL_EXPORTER_OTLP_INSECURE` decides, and if it is unset, there is TLS except for Unix sockets. Exports
  take turns over all addresses of a name, so that several Collectors behind one (such as a headless service
  of Kubernetes) share the load, and go on to the rest when one is gone; names are resolved anew whenever a
  connection ends, so Collectors that are added get their share as soon as the others end connections
  (`max_connection_age` of the Collector's receiver). With TLS, servers of an `ipv4:` or `ipv6:` list are all
  verified by the first address. An HTTP proxy is used as gRPC itself does: `grpc_proxy`, `https_proxy`,
  `http_proxy`, except for `no_grpc_proxy` or `no_proxy`, all in lower case.
- **HTTP.** [http.md](http.md) says how `http/protobuf` deals with proxies, kept connections, configured
  headers and renewed certificates.
- **Certificates** that change on disk are read anew within a second or so, without a restart, and used for
  new connections. Changed files that cannot be used are logged once; until they can be, the former ones
  stay.
- **Booleans.** Of a variable that begins with `OTEL_`, only `true`, in any case, is true; `1` or `yes` count
  as false, as the specification has it, and are logged. The others also take `1`, `yes`, `on`, `0`, `no` and
  `off`, and refuse what is no Boolean.
- **Timeout.** `OTEL_EXPORTER_OTLP_TIMEOUT` is in seconds, as for OpenTelemetry's Python exporters. The
  specification and other languages mean milliseconds, so that a value above 300, such as `10000`, is taken
  so and logged with the value to write.
- **Sampling.** A ratio decides by the trace id's random bits and writes `ot=th` into `tracestate`, so that
  span metrics count what was sampled away. `rate_limited` keeps at most so many traces a second, for each
  process.
- **Metrics** are scraped; with `OTEL_METRICS_EXPORTER=otlp` they are pushed as well, cumulative, to
  `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` or the general endpoint. A setting for traces alone does not count
  for them. If they go to another server than the spans, they have a breaker of their own, in the health
  report under `metrics_push` and on `/metrics` as `telemetry_push_breaker_state`. [metrics.md](metrics.md)
  says what
  `TELEMETRY_HTTP_METRICS`, `TELEMETRY_LATENCY_BUCKETS_MS` and `TELEMETRY_MAX_LABEL_SETS` change.
- **Server spans.** [tracing.md](tracing.md) says what `TELEMETRY_INSTRUMENTATION`,
  `TELEMETRY_REDACTED_QUERY`, `OTEL_SEMCONV_STABILITY_OPT_IN` and the settings of headers change, and which
  instrumentations are switched on.
- **Several workers.** `PROMETHEUS_MULTIPROC_DIR` is a folder with a short path. For metrics made before
  `setup_telemetry`, prometheus_client wants it to exist, and empty at the start.
- **Memory.** On top of `TELEMETRY_BUFFER_MAX_BYTES` come the batches of the spool that are being sent,
  `TELEMETRY_MAX_IN_FLIGHT` at most. `OTEL_BSP_MAX_QUEUE_SIZE` bounds spans that are not encoded yet.
- **Spool.** Another endpoint, other headers or another client certificate have a folder of their own below
  `TELEMETRY_SPOOL_DIR`: nothing is ever sent to another tenant. `python -m telemetry spool` shows and sends
  what waits there ([operations.md](operations.md#the-spool-by-hand)).
- **Shutdown.** `TELEMETRY_SHUTDOWN_SECONDS` is one budget for spans and metrics together.
- `OTEL_PROPAGATORS` is read by OpenTelemetry itself, as specified.
"""


def page() -> str:
    """Returns the whole page."""
    variables: dict[str, list[str]] = {}
    for variable, field in TelemetryConfig.variables().items():
        variables.setdefault(field, []).append(f"`{variable}`")
    descriptions = descriptions_of(TelemetryConfig)
    return (
        _HEAD
        + "".join(
            f"| {', '.join(variables[name])} | `{name}` | {_default(name, field)} | {_values(field)} "
            f"| {descriptions[name]} |\n"
            for name, field in TelemetryConfig.model_fields.items()
        )
        + _NOTES
    )


def _default(name: str, field: FieldInfo) -> str:
    presets: dict[str, list[str]] = {}
    for environment, preset in PRESETS.items():
        if name in preset:
            presets.setdefault(_code(preset[name]), []).append(environment)
    if presets:
        return "; ".join(f"{value} in {' and '.join(where)}" for value, where in presets.items())
    if name == "endpoint":
        return "`http://localhost:4317`, `http://localhost:4318` for `http/protobuf`"
    return _code(field.default)


def _code(value: object) -> str:
    if value in (None, (), {}, ""):
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds = {type(each): each for each in field.metadata}
    limits = []
    if isinstance(low := bounds.get(Ge), Ge):
        limits.append(f"at least {low.ge}")
    if isinstance(above := bounds.get(Gt), Gt):
        limits.append(f"above {above.gt}")
    if isinstance(high := bounds.get(Le), Le):
        limits.append(f"at most {high.le}")
    if isinstance(below := bounds.get(Lt), Lt):
        limits.append(f"below {below.lt}")
    return ", ".join(limits)


def _choices(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if bool in {annotation, *get_args(annotation)}:
        return ("true", "false")
    return next(filter(None, map(_choices, get_args(annotation))), ())


if __name__ == "__main__":
    PAGE.write_text(page())
