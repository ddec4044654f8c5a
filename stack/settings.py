"""Versions and ports: `.env` at the root, which a variable of the environment overrides."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import Field, FilePath, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from rich.console import Console

from stack.errors import StackError
from stack.port_offset import HIGHEST_PORT, PortOffsetSource

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"

_SERVICE_PREFIXES = ("OTEL_", "TELEMETRY_", "SHOP_")
_SERVICE_NAMES = (
    *("ENVIRONMENT", "SERVICE_NAME", "SERVICE_VERSION", "ENABLE_PROMETHEUS"),
    *("WEB_CONCURRENCY", "PROMETHEUS_MULTIPROC_DIR", "INVENTORY_URL"),
)
_WHICH_STACK = frozenset({"port_offset", "stack_run_dir", "compose_project_name"})
_SET_BY_THE_STACK = frozenset(
    {
        "OTEL_SERVICE_NAME",
        "SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "WEB_CONCURRENCY",
        "PROMETHEUS_MULTIPROC_DIR",
        "TELEMETRY_SPOOL_DIR",
        "INVENTORY_URL",
    }
)
"""Where spans go and in whose name is the stack's to say, not the shell's that starts it."""

Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]


class StackSettings(BaseSettings):
    """Where everything of the stack is. Frozen; each field is the lower-case name of its variable."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True)

    runtime: Literal["", "compose", "native"] = ""
    """Empty: whichever can be had, containers first."""
    port_offset: Annotated[int, Field(ge=0, le=HIGHEST_PORT)] = 0
    """How much higher than in `.env` every port is that is not set itself; run folder and project then have
    names of their own."""
    stack_run_dir: Path = ROOT / ".stack"
    compose_project_name: str = "fastapi-telemetry"

    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """Worker processes of the storefront."""

    collector_version: str
    jaeger_version: str
    jaeger_native_version: str
    prometheus_version: str
    toxiproxy_version: str
    grafana_version: str
    python_image: str

    programs_from: Annotated[str, Field(pattern=r"^(path|release|build)(,(path|release|build))*$")] = (
        "path,release,build"
    )
    """The ways by which the native runtime may get its programs; what is in the cache already needs none."""
    github_url: str = "https://github.com"
    grafana_downloads_url: str = "https://dl.grafana.com"
    """Where release archives come from; a mirror has the same paths below its address."""

    storefront_port: Port
    inventory_port: Port
    otlp_grpc_port: Port
    otlp_http_port: Port
    collector_health_port: Port
    collector_metrics_port: Port
    span_metrics_port: Port
    jaeger_port: Port
    jaeger_grpc_port: Port
    jaeger_otlp_grpc_port: Port
    jaeger_otlp_http_port: Port
    jaeger_health_port: Port
    jaeger_metrics_port: Port
    prometheus_port: Port
    grafana_port: Port
    console_port: Port
    locust_port: Port
    toxiproxy_port: Port
    otlp_proxy_port: Port

    jaeger_max_traces: Annotated[int, Field(ge=1)]
    """How many traces Jaeger keeps, in memory: the oldest make way."""
    tail_sampling_percentage: Annotated[FiniteFloat, Field(ge=0, le=100)] | None = None
    """The share of ordinary traces that the Collector keeps beside all with errors and all slow ones, in
    percent; None: it keeps every trace that it is sent."""

    telemetry_env: FilePath | None = None
    """A file with settings of the services, such as `make tune` recommends; the environment wins over it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Who wins: the caller, the environment, what PORT_OFFSET moves, `.env`."""
        del file_secret_settings
        return init_settings, env_settings, PortOffsetSource(settings_cls), dotenv_settings

    def variables(self) -> dict[str, str]:
        """The settings as the environment variables that they were, or would have been, read from."""
        values = ((name.upper(), getattr(self, name)) for name in type(self).model_fields)
        return {name: str(value) for name, value in values if value not in {"", None}}

    def with_variables(self, variables: Mapping[str, str]) -> "StackSettings":
        """The same settings, but for those that these variables name.

        Raises:
            StackError: a value is malformed.
        """
        named = {name.lower(): value for name, value in variables.items()}
        own = {name: value for name, value in named.items() if name in type(self).model_fields}
        return load_settings(**{**self.model_dump(), **own}) if own else self

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        holders: dict[int, str] = {}
        for name in type(self).model_fields:
            if name.endswith("_port"):
                port = getattr(self, name)
                if port in holders:
                    raise ValueError(f"{name.upper()} and {holders[port].upper()} are both {port}: move one")
                holders[port] = name
        return self

    @model_validator(mode="after")
    def _check_run_dir(self) -> Self:
        unfit = re.search(r"%|\s[#;]|[\r\n]", str(self.stack_run_dir.absolute()))
        if unfit:
            raise ValueError(
                f"STACK_RUN_DIR={self.stack_run_dir} has {unfit[0]!r} in it, which supervisord cannot take: "
                "set it to another folder"
            )
        return self


def load_settings(**values: Any) -> StackSettings:
    """Reads `.env` and the environment.

    Raises:
        StackError: a variable is missing or malformed; the message names each.
    """
    try:
        return StackSettings(**values)
    except ValidationError as error:
        lines = [_explain(details) for details in error.errors(include_url=False)]
        raise StackError(f"{ENV_FILE.name} or the environment has a bad value: {'; '.join(lines)}") from None


def load_settings_anyway(
    console: Console, recorded: Mapping[str, str] = MappingProxyType({})
) -> StackSettings:
    """Reads what `load_settings` reads, for commands that must work whatever is said there.

    A variable that is malformed is told and taken out of the environment: what the run was started with holds
    then, else `.env`, else a default or a value of no consequence.

    Args:
        console: is told what is passed over.
        recorded: what the run was started with.

    Raises:
        StackError: one that says which stack is meant is malformed: another one is not to be stopped for it.
    """
    values: dict[str, Any] = {}
    told: set[str] = set()
    while True:
        complaints = _complaints(values)
        if isinstance(complaints, StackSettings):
            return complaints
        for position, (name, complaint) in enumerate(complaints.items(), start=1):
            if name in _WHICH_STACK or name in values:
                raise StackError(complaint)
            known = recorded.get(name.upper())
            if complaint not in told:
                words = f"passed over: {complaint}" + (f"; the run was started with {known}" if known else "")
                console.print(words, highlight=False, markup=False, soft_wrap=True)
                told.add(complaint)
            said = {key: os.environ.pop(key) for key in list(os.environ) if key.lower() == name}
            if known is not None and known not in said.values():
                os.environ[name.upper()] = known
            elif not said:
                field = StackSettings.model_fields[name]
                of_no_consequence = position if field.annotation is int else "0"
                values[name] = of_no_consequence if field.is_required() else field.default


def _complaints(values: Mapping[str, Any]) -> "StackSettings | dict[str, str]":
    """The settings with these values over what is said elsewhere; else what is wrong, by the field's name."""
    try:
        settings = StackSettings(**values)
    except StackError as error:
        return {"port_offset": str(error)}
    except ValidationError as error:
        found = error.errors(include_url=False)
        of_fields = {str(each["loc"][0]): _explain(each) for each in found if each["loc"]}
        if of_fields:
            return of_fields
        words = _explain(found[0])
        if words.startswith("STACK_RUN_DIR"):
            return {"stack_run_dir": words}
        # Two ports are the same: whichever was said, each falls back.
        return {name: words for name in StackSettings.model_fields if name.endswith("_port")}
    try:
        recommended_variables(settings)
    except StackError as error:
        return {"telemetry_env": str(error)}
    return settings


def _explain(details: ErrorDetails) -> str:
    if not details["loc"]:
        return details["msg"].removeprefix("Value error, ")
    variable = str(details["loc"][0]).upper()
    return (
        f"{variable} is not set"
        if details["type"] == "missing"
        else f"{variable}={details['input']!r}: {details['msg']}"
    )


def is_service_variable(name: str) -> bool:
    """Whether the services read a variable of this name."""
    return (name.startswith(_SERVICE_PREFIXES) and name != "TELEMETRY_ENV") or name in _SERVICE_NAMES


def service_variables(settings: StackSettings) -> dict[str, str]:
    """What the demo services read: `.env`, over it `TELEMETRY_ENV`, over both the environment.

    Raises:
        StackError: the file named by `TELEMETRY_ENV` sets what is no setting of the services.
    """
    in_file = {
        name: value
        for name, value in dotenv_values(ENV_FILE).items()
        if value is not None and is_service_variable(name)
    }
    in_file |= recommended_variables(settings)
    overriding = {
        name: value
        for name, value in os.environ.items()
        if is_service_variable(name) and name not in _SET_BY_THE_STACK
    }
    return {**in_file, **overriding}


def recommended_variables(settings: StackSettings) -> dict[str, str]:
    """What the file of `TELEMETRY_ENV` sets; nothing without one.

    Raises:
        StackError: it sets what is no setting of the services, or theirs to set.
    """
    if settings.telemetry_env is None:
        return {}
    values = {name: value or "" for name, value in dotenv_values(settings.telemetry_env).items()}
    for name in values:
        if not is_service_variable(name) or name in _SET_BY_THE_STACK:
            raise StackError(
                f"{settings.telemetry_env} sets {name}, which is no setting of the services' telemetry"
            )
    return values
