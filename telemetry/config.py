"""TelemetryConfig: every setting of the library, and the one reader of the environment.

Precedence, for each field: keyword argument, standard `OTEL_*` variable, short name
(`SERVICE_NAME`), preset of `ENVIRONMENT`, default. An empty variable counts as unset
(OpenTelemetry specification, "Environment Variable Specification").
"""

import logging
import os
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AliasChoices,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import ConfigurationError
from .metrics.multiprocess import announced_workers
from .settings.endpoint import (
    METRICS_PATH,
    TRACES_PATH,
    check_endpoint,
    default_endpoint,
    is_insecure,
    port_of_other_protocol,
    signal_endpoint,
    without_secrets,
)
from .settings.headers import check_headers
from .settings.presets import PRESETS, preset_of

logger = logging.getLogger(__name__)

SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "rate_limited",
]

_RESOURCE_ATTRIBUTE_OF = {
    "service_name": "service.name",
    "service_version": "service.version",
    "environment": "deployment.environment.name",
}
MOST_DELAY_MS = 86_400_000
"""A day."""
_SAMPLERS_ELSEWHERE = ("jaeger_remote", "parentbased_jaeger_remote", "xray")


def _variables(*names: str) -> AliasChoices:
    return AliasChoices(*names)


def _otlp(suffix: str) -> AliasChoices:
    # The form of one signal wins over the general one (OTLP exporter specification).
    return AliasChoices(f"OTEL_EXPORTER_OTLP_TRACES_{suffix}", f"OTEL_EXPORTER_OTLP_{suffix}")


def _of_metrics(suffix: str) -> AliasChoices:
    # The general form follows in `_fill_in`, where the fields of traces have not read it.
    return AliasChoices(f"OTEL_EXPORTER_OTLP_METRICS_{suffix}")


def _parse_pairs(value: object) -> object:
    """Turns `key=value,key2=value2`, percent-encoded as the specification says, into a dict."""
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for position, item in enumerate(filter(None, (part.strip() for part in value.split(","))), start=1):
        key, separator, text = item.partition("=")
        if not separator or not key.strip():
            # The item itself may be a secret: name its place only.
            raise ValueError(f"entry {position} is not key=value (entries are separated by commas)")
        pairs[unquote(key.strip())] = unquote(text.strip())
    return pairs


class TelemetryConfig(BaseSettings):
    """The library's settings, read once and never changed (frozen; safe to share between threads).

    `TelemetryConfig()` reads the environment; keyword arguments, named as the fields, win.

    Raises:
        ConfigurationError: a value is malformed; the message names variable, value and rule.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    service_name: str = Field(
        "unknown_service",
        min_length=1,
        validation_alias=_variables("OTEL_SERVICE_NAME", "SERVICE_NAME"),
        description="the service's name, as traces and dashboards show it",
    )
    service_version: str = Field(
        "0.0.0",
        min_length=1,
        validation_alias=_variables("SERVICE_VERSION"),
        description="the service's version",
    )
    environment: str = Field(
        "development",
        min_length=1,
        validation_alias=_variables("ENVIRONMENT"),
        description="production, staging or development; chooses the preset",
    )
    resource_attributes: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        validation_alias=_variables("OTEL_RESOURCE_ATTRIBUTES"),
        description="further resource attributes, as key=value,key2=value2",
    )
    sdk_disabled: bool = Field(
        default=False,
        validation_alias=_variables("OTEL_SDK_DISABLED"),
        description="true: no span is made, nothing is sent",
    )
    enable_prometheus: bool = Field(
        default=True,
        validation_alias=_variables("ENABLE_PROMETHEUS"),
        description="true: the app serves /metrics",
    )
    multiproc_dir: Path | None = Field(
        None,
        validation_alias=_variables("PROMETHEUS_MULTIPROC_DIR"),
        description="folder where several workers meet, so that each one's /metrics shows all",
    )
    excluded_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=_variables("TELEMETRY_EXCLUDED_URLS"),
        description="paths neither traced nor counted, beside health and metrics: /live,/internal/*",
    )
    trace_response: bool = Field(
        default=False,
        validation_alias=_variables("TELEMETRY_TRACE_RESPONSE"),
        description="true: answers carry a traceresponse header",
    )
    slow_call_ms: FiniteFloat = Field(
        500,
        ge=0,
        validation_alias=_variables("TELEMETRY_SLOW_CALL_MS"),
        description="a measured call slower than this many milliseconds is logged",
    )

    disabled_instrumentations: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=_variables("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
        description="instrumentations to leave off, by name: httpx,sqlalchemy,logging",
    )

    traces_exporter: Literal["otlp", "console", "none"] = Field(
        "otlp", validation_alias=_variables("OTEL_TRACES_EXPORTER"), description="where finished spans go"
    )
    metrics_exporter: Literal["otlp", "none"] = Field(
        "none",
        validation_alias=_variables("OTEL_METRICS_EXPORTER"),
        description="otlp: metrics are pushed as well as scraped",
    )
    metric_export_interval_ms: FiniteFloat = Field(
        60_000,
        gt=0,
        le=2**31,
        validation_alias=_variables("OTEL_METRIC_EXPORT_INTERVAL"),
        description="the time between two pushes of metrics, in milliseconds",
    )
    metric_export_timeout_ms: FiniteFloat = Field(
        30_000,
        gt=0,
        le=2**31,
        validation_alias=_variables("OTEL_METRIC_EXPORT_TIMEOUT"),
        description="the longest that collecting and pushing them may take, in milliseconds",
    )
    sampler: SamplerName = Field(
        "parentbased_traceidratio",
        validation_alias=_variables("OTEL_TRACES_SAMPLER"),
        description="the sampler's standard name",
    )
    sampler_arg: FiniteFloat = Field(
        1.0,
        ge=0,
        validation_alias=_variables("OTEL_TRACES_SAMPLER_ARG"),
        description="the share of traces to keep, 0 to 1; for rate_limited the most traces a second",
    )

    protocol: Literal["grpc", "http/protobuf"] = Field(
        "grpc", validation_alias=_otlp("PROTOCOL"), description="the OTLP transport"
    )
    endpoint: str = Field(
        "",
        repr=False,  # it may hold credentials
        validation_alias=_variables("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="the Collector's address, such as http://localhost:4317",
    )
    traces_endpoint: str | None = Field(
        None,
        repr=False,
        validation_alias=_variables("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        description="the address for traces, used as it is; wins over the general one",
    )
    metrics_endpoint: str | None = Field(
        None,
        repr=False,
        validation_alias=_variables("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        description="the address for pushed metrics, used as it is; wins over the general one",
    )
    insecure: bool | None = Field(
        None,
        validation_alias=_otlp("INSECURE"),
        description="true: gRPC without TLS, for an address without scheme",
    )
    metrics_insecure: bool | None = Field(
        None,
        validation_alias=_of_metrics("INSECURE"),
        description="the same for pushed metrics; the general one where it is not given",
    )
    headers: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        repr=False,
        validation_alias=_otlp("HEADERS"),
        description="headers of each export, as key=value,key2=value2",
    )
    metrics_headers: Annotated[dict[str, str] | None, NoDecode] = Field(
        None,
        repr=False,
        validation_alias=_of_metrics("HEADERS"),
        description="headers of each push of metrics; the general ones where they are not given",
    )
    exporter_timeout_seconds: FiniteFloat = Field(
        1.0,
        gt=0,
        le=300,
        validation_alias=_otlp("TIMEOUT"),
        description="one export attempt's deadline in seconds (as Python's exporters read it)",
    )
    compression: Literal["none", "gzip"] = Field(
        "none", validation_alias=_otlp("COMPRESSION"), description="compression of export requests"
    )
    certificate: str | None = Field(
        None,
        validation_alias=_otlp("CERTIFICATE"),
        description="file of the authority that the Collector is checked by",
    )
    client_key: str | None = Field(
        None, validation_alias=_otlp("CLIENT_KEY"), description="file of the mTLS key"
    )
    client_certificate: str | None = Field(
        None, validation_alias=_otlp("CLIENT_CERTIFICATE"), description="file of the mTLS certificate"
    )

    max_queue_size: int = Field(
        2048,
        ge=1,
        le=10_000_000,
        validation_alias=_variables("OTEL_BSP_MAX_QUEUE_SIZE"),
        description="the most spans kept in memory",
    )
    max_export_batch_size: int = Field(
        512,
        ge=1,
        le=1_000_000,
        validation_alias=_variables("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        description="the most spans in one export",
    )
    schedule_delay_ms: FiniteFloat = Field(
        1000,
        ge=1,
        le=MOST_DELAY_MS,
        validation_alias=_variables("OTEL_BSP_SCHEDULE_DELAY"),
        description="the longest a span waits for its batch to fill, in milliseconds",
    )
    export_timeout_ms: FiniteFloat = Field(
        3000,
        gt=0,
        le=MOST_DELAY_MS,
        validation_alias=_variables("OTEL_BSP_EXPORT_TIMEOUT"),
        description="the longest one export may take, in milliseconds",
    )
    buffer_max_bytes: int = Field(
        64 * 2**20,
        ge=2**10,
        validation_alias=_variables("TELEMETRY_BUFFER_MAX_BYTES"),
        description="the most bytes of encoded batches kept in memory",
    )
    spool_dir: Path | None = Field(
        None,
        validation_alias=_variables("TELEMETRY_SPOOL_DIR"),
        description="folder for spans that wait on disk; unset: no disk is touched",
    )
    spool_mode: Literal["outage", "always"] = Field(
        "outage",
        validation_alias=_variables("TELEMETRY_SPOOL_MODE"),
        description="outage: written when it cannot be sent; always: written before it is sent",
    )
    spool_max_bytes: int = Field(
        256 * 2**20,
        ge=2**16,
        validation_alias=_variables("TELEMETRY_SPOOL_MAX_BYTES"),
        description="the most bytes of spooled spans on disk, for each process",
    )
    spool_max_age_seconds: FiniteFloat = Field(
        86_400,
        gt=0,
        validation_alias=_variables("TELEMETRY_SPOOL_MAX_AGE_SECONDS"),
        description="spooled spans older than this are given up, in seconds",
    )
    spool_fsync: Literal["always", "interval", "never"] = Field(
        "interval",
        validation_alias=_variables("TELEMETRY_SPOOL_FSYNC"),
        description="when spooled spans are made to survive a loss of power; interval: each second",
    )
    spool_min_free: FiniteFloat = Field(
        0.1,
        ge=0,
        lt=1,
        validation_alias=_variables("TELEMETRY_SPOOL_MIN_FREE"),
        description="the share of the disk that spooled spans leave free, 0 to 1",
    )
    max_in_flight: int = Field(
        4,
        ge=1,
        le=64,
        validation_alias=_variables("TELEMETRY_MAX_IN_FLIGHT"),
        description="the most exports under way at once",
    )
    shutdown_seconds: FiniteFloat = Field(
        5.0,
        gt=0,
        le=300,
        validation_alias=_variables("TELEMETRY_SHUTDOWN_SECONDS"),
        description="how long shutdown may take, over all signals, in seconds",
    )

    breaker_failure_threshold: int = Field(
        3,
        ge=1,
        validation_alias=_variables("TELEMETRY_BREAKER_FAILURE_THRESHOLD"),
        description="consecutive failures that open the breaker",
    )
    breaker_window_seconds: FiniteFloat = Field(
        30.0,
        gt=0,
        validation_alias=_variables("TELEMETRY_BREAKER_WINDOW_SECONDS"),
        description="the window over which the failure rate is taken, in seconds",
    )
    breaker_failure_rate: FiniteFloat = Field(
        0.5,
        gt=0,
        le=1,
        validation_alias=_variables("TELEMETRY_BREAKER_FAILURE_RATE"),
        description="the share of failed calls in the window that opens the breaker",
    )
    breaker_minimum_calls: int = Field(
        5,
        ge=1,
        validation_alias=_variables("TELEMETRY_BREAKER_MINIMUM_CALLS"),
        description="calls in the window before the failure rate counts",
    )
    breaker_open_seconds: FiniteFloat = Field(
        2.0,
        gt=0,
        validation_alias=_variables("TELEMETRY_BREAKER_OPEN_SECONDS"),
        description="base of the open time, in seconds; doubles with each opening",
    )
    breaker_open_max_seconds: FiniteFloat = Field(
        60.0,
        gt=0,
        validation_alias=_variables("TELEMETRY_BREAKER_OPEN_MAX_SECONDS"),
        description="the longest open time, in seconds",
    )
    breaker_probes: int = Field(
        1,
        ge=1,
        validation_alias=_variables("TELEMETRY_BREAKER_PROBES"),
        description="successful probes that close the breaker",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(
                "; ".join(_explain(details, values) for details in error.errors(include_url=False))
            ) from None
        _warn_of_unknown_variables()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Applies what depends on another field: resource attributes, preset, the protocol's port."""
        values = {_FIELD_OF.get(key, key): value for key, value in data.items()}
        attributes: object = None
        with suppress(ValueError):  # the field's own validator says it, with the variable's name
            attributes = _parse_pairs(values.get("resource_attributes") or {})
        if isinstance(attributes, dict):
            for field, attribute in _RESOURCE_ATTRIBUTE_OF.items():
                is_argument = field in data
                if (
                    attribute in attributes
                    and not is_argument
                    and not os.environ.get(f"OTEL_{field.upper()}")
                ):
                    values[field] = attributes[attribute]
        environment = values.get("environment", "development")
        given = frozenset(values)
        for field, value in preset_of(environment).items():
            values.setdefault(field, value)
        if values.get("sampler") == "rate_limited" and "sampler_arg" not in given:
            raise ValueError(
                "OTEL_TRACES_SAMPLER=rate_limited needs OTEL_TRACES_SAMPLER_ARG, the most traces a second"
            )
        queue = str(values["max_queue_size"])
        if "max_export_batch_size" not in given and queue.isdecimal():
            # A preset must not make a small queue, asked for on its own, an error.
            values["max_export_batch_size"] = max(1, min(values["max_export_batch_size"], int(queue)))
        for field, suffix in _GENERAL_FORM_OF.items():
            # What is the traces' alone, a vendor's key most of all, is not for wherever metrics go.
            if f"OTEL_EXPORTER_OTLP_TRACES_{suffix}" in data and field not in given:
                values[field] = os.environ.get(f"OTEL_EXPORTER_OTLP_{suffix}") or _NOTHING_OF[field]
        if not values.get("endpoint"):
            values["endpoint"] = default_endpoint(values.get("protocol", "grpc"))
        return values

    @field_validator("resource_attributes", "headers", "metrics_headers", mode="before")
    @classmethod
    def _read_pairs(cls, value: object) -> object:
        return _parse_pairs(value)

    @field_validator("headers", "metrics_headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        return None if value is None else check_headers(value, str(info.data.get("protocol")))

    @field_validator("spool_dir", mode="before")
    @classmethod
    def _resolve_folder(cls, value: object) -> object:
        """Makes it absolute now: a service that changes its directory must not leave its spool behind."""
        if not isinstance(value, str | Path):
            return value
        text = str(value).strip()
        try:
            return Path(text).expanduser().absolute() if text else None
        except RuntimeError:
            raise ValueError("the home directory that ~ stands for is not known") from None

    @field_validator("excluded_urls", "disabled_instrumentations", mode="before")
    @classmethod
    def _read_paths(cls, value: object) -> object:
        return (
            tuple(filter(None, (part.strip() for part in value.split(","))))
            if isinstance(value, str)
            else value
        )

    @field_validator("excluded_urls")
    @classmethod
    def _check_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not path.startswith("/") or "*" in path[:-1]:
                raise ValueError(f"{path!r} is not a path: it starts with / and may end in * only")
        return paths

    @field_validator("sampler", mode="before")
    @classmethod
    def _refuse_samplers_of_other_languages(cls, value: object) -> object:
        if value in _SAMPLERS_ELSEWHERE:
            raise ValueError("that sampler does not exist for Python; use parentbased_traceidratio")
        return value

    @field_validator("sampler_arg")
    @classmethod
    def _check_share(cls, value: float, info: ValidationInfo) -> float:
        sampler = str(info.data.get("sampler"))
        if value > 1 and sampler != "rate_limited":
            raise ValueError(f"{sampler} takes a share of traces, 0 to 1; rate_limited takes traces a second")
        return value

    @field_validator("endpoint", "traces_endpoint", "metrics_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else check_endpoint(value)

    @field_validator("certificate", "client_key", "client_certificate")
    @classmethod
    def _check_file(cls, file: str | None, info: ValidationInfo) -> str | None:
        if file is not None:
            try:
                Path(file).read_bytes()
                if info.field_name == "certificate":
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
            except ssl.SSLError as error:
                raise ValueError(f"the file holds no certificate in PEM form ({error.reason})") from None
            except OSError as error:
                raise ValueError(f"the file cannot be read: {error.strerror}") from None
        return file

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
        if (self.client_key is None) != (self.client_certificate is None):
            raise ValueError(
                "mTLS needs both OTEL_EXPORTER_OTLP_CLIENT_KEY and OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
            )
        if self.client_certificate is not None:
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                # A key with a passphrase would else ask the terminal for it.
                context.load_cert_chain(self.client_certificate, self.client_key, password="")
            except ssl.SSLError as error:
                raise ValueError(
                    f"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE ({self.client_certificate}) and "
                    f"OTEL_EXPORTER_OTLP_CLIENT_KEY ({self.client_key}) are no pair in PEM form without a "
                    f"passphrase ({error.reason})"
                ) from None
        if self.protocol == "http/protobuf":
            for field in ("traces_endpoint", "metrics_endpoint"):
                own = getattr(self, field)
                address = self.endpoint if own is None else own
                if "://" not in address:
                    variable = _choices("endpoint" if own is None else field)[0]
                    raise ValueError(
                        f"{variable}={without_secrets(address)!r} needs http:// or https:// in front "
                        "for http/protobuf"
                    )
        return self

    @property
    def export_endpoint(self) -> str:
        """Where traces are sent, with `/v1/traces` added to a general HTTP endpoint (OTLP specification)."""
        return self.traces_endpoint or signal_endpoint(self.endpoint, self.protocol, TRACES_PATH)

    @property
    def metrics_export_endpoint(self) -> str:
        """Where metrics are pushed, with `/v1/metrics` added to a general HTTP endpoint."""
        return self.metrics_endpoint or signal_endpoint(self.endpoint, self.protocol, METRICS_PATH)

    @property
    def shown_endpoint(self) -> str:
        """The export endpoint without credentials or query, for logs and health."""
        return without_secrets(self.export_endpoint)

    @property
    def is_insecure(self) -> bool:
        """Whether gRPC goes without TLS: the scheme decides, `insecure` only where there is none."""
        return is_insecure(self.export_endpoint, flag=self.insecure)

    @property
    def is_metrics_insecure(self) -> bool:
        """The same of pushed metrics: by their own address, not the traces'."""
        flag = self.insecure if self.metrics_insecure is None else self.metrics_insecure
        return is_insecure(self.metrics_export_endpoint, flag=flag)

    @property
    def metrics_export_headers(self) -> dict[str, str]:
        """Headers of pushed metrics: their own or the general ones, never the traces' alone."""
        return self.headers if self.metrics_headers is None else self.metrics_headers

    @property
    def attempt_timeout_seconds(self) -> float:
        """The deadline of one export attempt, in seconds."""
        return min(self.exporter_timeout_seconds, self.export_timeout_ms / 1000)

    @property
    def sampling_ratio(self) -> float | None:
        """The share of new traces that is kept, 0 to 1; None where it depends on how many there are."""
        fixed = {"always_on": 1.0, "always_off": 0.0, "rate_limited": None}
        return fixed.get(self.sampler.removeprefix("parentbased_"), self.sampler_arg)

    def log_suspicions(self) -> None:
        """Logs what is legal but probably a mistake; called once, when a pipeline is built."""
        if self.multiproc_dir is None and self.enable_prometheus:
            workers = announced_workers(os.environ, sys.argv)
            if workers > 1:
                logger.warning(
                    "%d workers answer for one port, each with metrics of its own: set "
                    "PROMETHEUS_MULTIPROC_DIR to a folder for /metrics to show all of them at once",
                    workers,
                )
        if self.environment not in PRESETS:
            logger.warning(
                "ENVIRONMENT=%s is none of %s: the production preset is used",
                self.environment,
                ", ".join(PRESETS),
            )
        temporality = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "")
        if self.metrics_exporter == "otlp" and temporality.lower() not in {"", "cumulative"}:
            logger.warning(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=%s changes nothing: pushed metrics are "
                "cumulative, so that a push that fails loses nothing",
                temporality,
            )
        if self.metrics_exporter == "otlp":
            _warn_of_unread_forms_of_metrics()
        port = port_of_other_protocol(self.export_endpoint, self.protocol)
        if port is not None:
            logger.warning(
                "%d is usually the port of the other OTLP protocol, but the protocol is %s (endpoint %s)",
                port,
                self.protocol,
                self.shown_endpoint,
            )


def _choices(field: str) -> tuple[str, ...]:
    alias = TelemetryConfig.model_fields[field].validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else ()


def _explain(details: ErrorDetails, values: Mapping[str, Any]) -> str:
    """One sentence: variable (or argument), value, rule, remedy. Secrets are not repeated."""
    key = str(details["loc"][0]) if details["loc"] else ""
    field = _FIELD_OF.get(key, key)
    message = details["msg"].removeprefix("Value error, ")
    if not field:
        return message
    if field not in TelemetryConfig.model_fields:
        return f"{field} is not a setting of TelemetryConfig; see its fields for the names"
    info = TelemetryConfig.model_fields[field]
    argument = next((name for name in (field, *_choices(field)) if name in values), None)
    names = _choices(field)
    if field in _GENERAL_FORM_OF:
        names += (f"OTEL_EXPORTER_OTLP_{_GENERAL_FORM_OF[field]}",)
    variable = next((name for name in names if os.environ.get(name)), None)
    source, value = (
        (variable, os.environ[variable])
        if variable and argument is None
        else (argument or field, values.get(argument or field))
    )
    if field in {"endpoint", "traces_endpoint", "metrics_endpoint"}:
        value = without_secrets(str(value))
    shown = "" if field in {"headers", "metrics_headers"} else f"={value!r}"
    return f"{source}{shown} cannot be used: {message} ({info.description})"


def _warn_of_unknown_variables() -> None:
    for name in sorted(os.environ):
        if name.startswith("TELEMETRY_") and name not in _FIELD_OF and name not in _warned:
            _warned.add(name)
            logger.warning("%s is not a setting of this version and changes nothing", name)


def _warn_of_unread_forms_of_metrics() -> None:
    for name in sorted(os.environ):
        is_form = name.startswith("OTEL_EXPORTER_OTLP_METRICS_") and not name.endswith(
            "_TEMPORALITY_PREFERENCE"
        )
        if is_form and os.environ[name] and name not in _FIELD_OF and name not in _warned:
            _warned.add(name)
            logger.warning(
                "%s changes nothing: of the METRICS_ forms _ENDPOINT, _HEADERS and _INSECURE are read, the "
                "rest is as for traces",
                name,
            )


_GENERAL_FORM_OF = {"metrics_headers": "HEADERS", "metrics_insecure": "INSECURE"}
_NOTHING_OF: Mapping[str, object] = {"metrics_headers": {}, "metrics_insecure": False}
_FIELD_OF = {name: field for field in TelemetryConfig.model_fields for name in _choices(field)}
_warned: set[str] = set()
