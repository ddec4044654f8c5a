"""TelemetryConfig: every setting of the library, and the only reader of the environment.

Precedence for each field: keyword argument, standard `OTEL_*` variable, short name
(`SERVICE_NAME`), preset for `ENVIRONMENT`, default. An empty variable counts as unset
(OpenTelemetry specification, "Environment Variable Specification").
"""

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import FiniteFloat, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict

from .errors import ConfigurationError
from .export.breaker import BreakerSettings
from .settings import messages
from .settings.batching import Batching
from .settings.declaration import descriptions_of, setting, variables_of
from .settings.destination import Destination
from .settings.endpoint import (
    OTLP_METRICS_PATH,
    OTLP_TRACES_PATH,
    check_scheme,
    is_insecure,
    signal_endpoint,
    without_secrets,
)
from .settings.headers import check_headers
from .settings.precedence import GENERAL_FORM_OF, fill_in
from .settings.presets import preset_of
from .settings.request import RequestSettings
from .settings.service import ServiceSettings
from .settings.spool import SpoolSettings, destination_folder
from .settings.timeout import DEFAULT_SECONDS, TIMEOUT_OF_METRICS
from .settings.values import (
    Address,
    Authority,
    Folder,
    OptionalPairs,
    OwnAuthority,
    OwnTlsFile,
    Pairs,
    SamplerName,
    StandardBoolean,
    TlsFile,
    check_client_certificate,
)

logger = logging.getLogger(__name__)

MOST_DELAY_MS = 86_400_000
"""A day."""
_PRESET = preset_of("development")
_BREAKER = BreakerSettings()
_warned: set[str] = set()


def _otlp(suffix: str) -> tuple[str, str]:
    # The signal-specific variable takes precedence over the general one (OTLP exporter specification).
    return f"OTEL_EXPORTER_OTLP_TRACES_{suffix}", f"OTEL_EXPORTER_OTLP_{suffix}"


class TelemetryConfig(RequestSettings, ServiceSettings):
    """The library's settings, read once and then frozen, so they are safe to share between threads.

    `TelemetryConfig()` reads the environment; keyword arguments, named like the fields, take precedence.
    A subclass may add settings, which read `TELEMETRY_<FIELD>`; it must not reuse a name of this class.

    Raises:
        ConfigurationError: a value is malformed; the message names the variable, the value and the rule.
    """

    model_config = SettingsConfigDict(defer_build=False)

    traces_exporter: Literal["otlp", "console", "none"] = setting("otlp", "OTEL_TRACES_EXPORTER")
    """Where finished spans go."""
    metrics_exporter: Literal["otlp", "none"] = setting("none", "OTEL_METRICS_EXPORTER")
    """`otlp`: metrics are pushed as well as scraped."""
    metric_export_interval_ms: FiniteFloat = setting(60_000, "OTEL_METRIC_EXPORT_INTERVAL", gt=0, le=2**31)
    """The time between two pushes of metrics, in milliseconds."""
    metric_export_timeout_ms: FiniteFloat = setting(30_000, "OTEL_METRIC_EXPORT_TIMEOUT", gt=0, le=2**31)
    """The longest that collecting and pushing them may take, in milliseconds."""
    sampler: SamplerName = setting("parentbased_traceidratio", "OTEL_TRACES_SAMPLER")
    """The sampler's standard name."""
    sampler_arg: FiniteFloat = setting(_PRESET["sampler_arg"], "OTEL_TRACES_SAMPLER_ARG", ge=0)
    """The share of traces to keep, 0 to 1; for rate_limited the most traces a second."""

    protocol: Literal["grpc", "http/protobuf"] = setting("grpc", *_otlp("PROTOCOL"))
    """The OTLP transport."""
    endpoint: Address = setting("", "OTEL_EXPORTER_OTLP_ENDPOINT", repr=False)
    """The Collector's address, such as http://localhost:4317."""
    traces_endpoint: Address | None = setting(None, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", repr=False)
    """The address for traces, used as it is; wins over the general one."""
    metrics_endpoint: Address | None = setting(None, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", repr=False)
    """The address for pushed metrics, used as it is; wins over the general one."""
    insecure: StandardBoolean | None = setting(None, *_otlp("INSECURE"))
    """`true`: gRPC without TLS, for an address without http:// or https://; by default only a Unix socket."""
    metrics_insecure: StandardBoolean | None = setting(None, "OTEL_EXPORTER_OTLP_METRICS_INSECURE")
    """The same for pushed metrics; the general one where it is not given."""
    headers: Pairs = setting({}, *_otlp("HEADERS"), repr=False)
    """Headers of each export, as key=value,key2=value2."""
    metrics_headers: OptionalPairs = setting(None, "OTEL_EXPORTER_OTLP_METRICS_HEADERS", repr=False)
    """Headers of each push of metrics; the general ones where they are not given."""
    exporter_timeout_seconds: FiniteFloat = setting(DEFAULT_SECONDS, *_otlp("TIMEOUT"), gt=0, le=300)
    """The deadline of one export attempt, in seconds; a variable above 300 is taken as milliseconds."""
    compression: Literal["none", "gzip"] = setting("none", *_otlp("COMPRESSION"))
    """Compression of export requests."""
    certificate: Authority | None = setting(None, *_otlp("CERTIFICATE"))
    """File of the CA certificate that the Collector's certificate is verified with."""
    client_key: TlsFile | None = setting(None, *_otlp("CLIENT_KEY"))
    """File of the mTLS key."""
    client_certificate: TlsFile | None = setting(None, *_otlp("CLIENT_CERTIFICATE"))
    """File of the mTLS certificate."""
    metrics_timeout_seconds: FiniteFloat | None = setting(None, TIMEOUT_OF_METRICS, gt=0, le=300)
    """The deadline of one push of metrics, in seconds; the general one where it is not given."""
    metrics_compression: Literal["none", "gzip"] | None = setting(
        None, "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION"
    )
    """Compression of pushes of metrics; the general one where it is not given."""
    metrics_certificate: OwnAuthority | None = setting(None, "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE")
    """File of the CA certificate for pushed metrics; the general one where it is not given."""
    metrics_client_key: OwnTlsFile | None = setting(None, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY")
    """File of the mTLS key for pushed metrics; the general one where it is not given."""
    metrics_client_certificate: OwnTlsFile | None = setting(
        None, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE"
    )
    """File of the mTLS certificate for pushed metrics; the general one where it is not given."""

    max_queue_size: int = setting(_PRESET["max_queue_size"], "OTEL_BSP_MAX_QUEUE_SIZE", ge=1, le=10_000_000)
    """The most spans kept in memory."""
    max_export_batch_size: int = setting(
        _PRESET["max_export_batch_size"], "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", ge=1, le=1_000_000
    )
    """The most spans in one export."""
    schedule_delay_ms: FiniteFloat = setting(
        _PRESET["schedule_delay_ms"], "OTEL_BSP_SCHEDULE_DELAY", ge=1, le=MOST_DELAY_MS
    )
    """The longest a span waits for its batch to fill, in milliseconds."""
    export_timeout_ms: FiniteFloat = setting(
        _PRESET["export_timeout_ms"], "OTEL_BSP_EXPORT_TIMEOUT", gt=0, le=MOST_DELAY_MS
    )
    """The longest one export may take, in milliseconds."""
    buffer_max_bytes: int = setting(64 * 2**20, ge=2**10)
    """The most bytes of encoded batches kept in memory."""
    spool_dir: Folder | None = setting(None)
    """Folder for spans that wait on disk; when unset, nothing is written to disk."""
    spool_mode: Literal["outage", "always"] = setting("outage")
    """`outage`: a batch is written when it cannot be sent; `always`: before it is sent."""
    spool_max_bytes: int = setting(256 * 2**20, ge=2**16)
    """The most bytes of spooled spans on disk, for each process."""
    spool_max_age_seconds: FiniteFloat = setting(86_400, gt=0)
    """Spooled spans older than this many seconds are dropped."""
    spool_fsync: Literal["always", "interval", "never"] = setting("interval")
    """When spooled spans are synced, so as to survive a power failure; `interval`: each second."""
    spool_min_free: FiniteFloat = setting(0.1, ge=0, lt=1)
    """The share of the disk that spooled spans leave free, 0 to 1."""
    max_in_flight: int = setting(4, ge=1, le=64)
    """The most exports in flight at once."""
    shutdown_seconds: FiniteFloat = setting(5.0, gt=0, le=300)
    """How long shutdown may take, over all signals, in seconds."""

    breaker_failure_threshold: int = setting(_BREAKER.failure_threshold, ge=1)
    """Consecutive failures that open the breaker."""
    breaker_window_seconds: FiniteFloat = setting(_BREAKER.window_seconds, gt=0)
    """The window over which the failure rate is taken, in seconds."""
    breaker_failure_rate: FiniteFloat = setting(_BREAKER.failure_rate, gt=0, le=1)
    """The share of failed calls in the window that opens the breaker."""
    breaker_minimum_calls: int = setting(_BREAKER.minimum_calls, ge=1)
    """Calls in the window before the failure rate counts."""
    breaker_open_seconds: FiniteFloat = setting(_BREAKER.open_seconds, gt=0)
    """Base of the open time, in seconds; doubles with each opening."""
    breaker_open_max_seconds: FiniteFloat = setting(_BREAKER.open_max_seconds, gt=0)
    """The longest open time, in seconds."""
    breaker_probes: int = setting(_BREAKER.probes, ge=1)
    """Successful probes that close the breaker."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(
                "; ".join(
                    _explain(type(self), details, values) for details in error.errors(include_url=False)
                )
            ) from None
        _log_once(messages.unknown_variables(os.environ, self.variables()))
        _log_once(messages.no_booleans(os.environ))
        _log_once(messages.timeout_in_milliseconds(os.environ))

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Returns the field that each environment variable sets, by variable name.

        Fields are in declaration order; each field's variables are ordered from highest precedence down.
        """
        return {name: field for field, info in cls.model_fields.items() for name in variables_of(info)}

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Fills in values that depend on other fields: resource attributes, preset, the protocol's port."""
        return fill_in(data, cls.variables(), os.environ)

    @field_validator("headers", "metrics_headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        return None if value is None else check_headers(value, str(info.data.get("protocol")))

    @field_validator("sampler_arg")
    @classmethod
    def _check_share(cls, value: float, info: ValidationInfo) -> float:
        sampler = str(info.data.get("sampler"))
        if value > 1 and sampler != "rate_limited":
            raise ValueError(f"{sampler} takes a share of traces, 0 to 1; rate_limited takes traces a second")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.max_export_batch_size > self.max_queue_size:
            raise ValueError(
                f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE ({self.max_export_batch_size}) must not exceed "
                f"OTEL_BSP_MAX_QUEUE_SIZE ({self.max_queue_size}): such a batch could never fill"
            )
        if self.breaker_open_max_seconds < self.breaker_open_seconds:
            raise ValueError(
                f"TELEMETRY_BREAKER_OPEN_MAX_SECONDS ({self.breaker_open_max_seconds:g}) must not be below "
                f"TELEMETRY_BREAKER_OPEN_SECONDS ({self.breaker_open_seconds:g})"
            )
        check_client_certificate(self.client_certificate, self.client_key)
        of_metrics = self.metrics_destination
        check_client_certificate(of_metrics.client_certificate, of_metrics.client_key)
        for field in ("traces_endpoint", "metrics_endpoint"):
            own = getattr(self, field)
            variable = variables_of(type(self).model_fields["endpoint" if own is None else field])[0]
            check_scheme(self.endpoint if own is None else own, self.protocol, variable)
        return self

    @property
    def export_endpoint(self) -> str:
        """The endpoint for traces; `/v1/traces` is appended to a general HTTP one (OTLP specification)."""
        return self.traces_endpoint or signal_endpoint(self.endpoint, self.protocol, OTLP_TRACES_PATH)

    @property
    def metrics_export_endpoint(self) -> str:
        """The endpoint for pushed metrics; `/v1/metrics` is appended to a general HTTP one."""
        return self.metrics_endpoint or signal_endpoint(self.endpoint, self.protocol, OTLP_METRICS_PATH)

    @property
    def shown_endpoint(self) -> str:
        """The export endpoint without credentials or query, for logs and health."""
        return without_secrets(self.export_endpoint)

    @property
    def is_insecure(self) -> bool:
        """Whether gRPC runs without TLS: the scheme decides, or `insecure` if there is none."""
        return is_insecure(self.export_endpoint, flag=self.insecure)

    @property
    def is_metrics_insecure(self) -> bool:
        """The same for pushed metrics, decided by their own endpoint rather than that of the traces."""
        flag = self.insecure if self.metrics_insecure is None else self.metrics_insecure
        return is_insecure(self.metrics_export_endpoint, flag=flag)

    @property
    def metrics_export_headers(self) -> dict[str, str]:
        """Headers for pushed metrics: their own or the general ones, never those set for traces only."""
        return self.headers if self.metrics_headers is None else self.metrics_headers

    @property
    def traces_destination(self) -> Destination:
        """Where spans go, and how."""
        return Destination(
            self.export_endpoint,
            self.headers,
            self.is_insecure,
            self.compression == "gzip",
            self.certificate,
            self.client_key,
            self.client_certificate,
        )

    @property
    def metrics_destination(self) -> Destination:
        """Where pushed metrics go, and how: by their own settings or the general ones."""

        def own_or_general(field: str) -> Any:
            own = getattr(self, f"metrics_{field}")
            return getattr(self, field) if own is None else own or None

        return Destination(
            self.metrics_export_endpoint,
            self.metrics_export_headers,
            self.is_metrics_insecure,
            own_or_general("compression") == "gzip",
            own_or_general("certificate"),
            own_or_general("client_key"),
            own_or_general("client_certificate"),
        )

    @property
    def attempt_timeout_seconds(self) -> float:
        """The deadline of one export attempt, in seconds."""
        return min(self.exporter_timeout_seconds, self.export_timeout_ms / 1000)

    @property
    def push_timeout_seconds(self) -> float:
        """The deadline of one push of metrics, in seconds, collecting excluded."""
        own = self.metrics_timeout_seconds
        return self.exporter_timeout_seconds if own is None else own

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces kept, 0 to 1; None for the rate-limited sampler."""
        fixed = {"always_on": 1.0, "always_off": 0.0, "rate_limited": None}
        return fixed.get(self.sampler.removeprefix("parentbased_"), self.sampler_arg)

    @property
    def batching(self) -> Batching:
        """The initial batch size and delay."""
        return Batching(self.max_export_batch_size, self.schedule_delay_ms / 1000)

    @property
    def breaker(self) -> BreakerSettings:
        """When the circuit breaker opens, and for how long."""
        return BreakerSettings(
            failure_threshold=self.breaker_failure_threshold,
            window_seconds=self.breaker_window_seconds,
            failure_rate=self.breaker_failure_rate,
            minimum_calls=self.breaker_minimum_calls,
            open_seconds=self.breaker_open_seconds,
            open_max_seconds=self.breaker_open_max_seconds,
            probes=self.breaker_probes,
            # More than twice an attempt's deadline, so a permit is overdue only when its thread is lost.
            lease_seconds=2 * self.attempt_timeout_seconds + 1,
        )

    @property
    def spool(self) -> SpoolSettings | None:
        """The spool settings; None if spans are not spooled to disk."""
        if self.spool_dir is None or self.traces_exporter != "otlp" or self.sdk_disabled:
            return None
        return SpoolSettings(
            folder=destination_folder(
                self.spool_dir,
                self.export_endpoint,
                self.protocol,
                repr(sorted(self.headers.items())),
                str(self.client_certificate),
            ),
            endpoint=self.shown_endpoint,
            protocol=self.protocol,
            max_bytes=self.spool_max_bytes,
            max_age_seconds=self.spool_max_age_seconds,
            min_free_ratio=self.spool_min_free,
            fsync=self.spool_fsync,
        )

    def log_suspicions(self) -> None:
        """Logs settings that are legal but probably mistakes; called once, when a pipeline is built."""
        if self.multiproc_dir is None and self.enable_prometheus:
            _log(messages.workers_without_folder(os.environ, sys.argv))
        _log(messages.unknown_environment(self.environment))
        if self.metrics_exporter == "otlp":
            _log(messages.ignored_temporality(os.environ))
            _log_once(messages.unread_forms_of_metrics(os.environ, self.variables()))
        _log(messages.other_protocol(self.export_endpoint, self.protocol))
        if self.traces_endpoint is None and self.protocol == "http/protobuf":
            _log(messages.doubled_path(self.export_endpoint))


def _explain(config: type[TelemetryConfig], details: ErrorDetails, arguments: Mapping[str, Any]) -> str:
    return messages.explain(
        details,
        variables={
            field: (*variables_of(info), *GENERAL_FORM_OF.get(field, ()))
            for field, info in config.model_fields.items()
        },
        descriptions=descriptions_of(config),
        arguments=arguments,
        environment=os.environ,
    )


def _log(lines: Iterable[messages.Line]) -> None:
    for text, *arguments in lines:
        logger.warning(text, *arguments)


def _log_once(lines: Iterable[messages.Line]) -> None:
    """Logs lines about one variable each, once per variable and process."""
    for text, *arguments in lines:
        name = str(arguments[0])
        if name not in _warned:
            _warned.add(name)
            logger.warning(text, *arguments)
