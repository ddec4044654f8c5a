"""Versions and ports: from `.env` at the root, overridden by environment variables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FilePath, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stack.errors import StackError
from stack.port_offset import HIGHEST_PORT, PortOffsetSource

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"
HOST = "127.0.0.1"
"""The address that every part listens on."""

Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]


class StackSettings(BaseSettings):
    """The stack's settings. Frozen; each field has the lower-case name of its variable."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True)

    runtime: Literal["", "compose", "native"] = ""
    """Empty for whichever is available, containers first."""
    port_offset: Annotated[int, Field(ge=0, le=HIGHEST_PORT)] = 0
    """Added to every port from `.env` that is not set elsewhere; the run folder and the project then get
    distinct names."""
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
    """The sources from which the native runtime may get its programs, cached or not."""
    github_url: str = "https://github.com"
    grafana_downloads_url: str = "https://dl.grafana.com"
    """The hosts of the release archives; a mirror needs the same paths below its address."""

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
    """The number of traces that Jaeger keeps in memory; the oldest are dropped."""
    tail_sampling_percentage: Annotated[FiniteFloat, Field(ge=0, le=100)] | None = None
    """The percentage of ordinary traces that the Collector keeps, besides all slow ones and all with errors;
    None to keep every trace that it receives."""

    telemetry_env: FilePath | None = None
    """A file with settings of the services, such as `make tune` recommends; the environment overrides it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns the sources by precedence: the caller, the environment, `PORT_OFFSET`'s moves, `.env`."""
        del file_secret_settings
        return init_settings, env_settings, PortOffsetSource(settings_cls), dotenv_settings

    def variables(self) -> dict[str, str]:
        """Returns the settings as the environment variables that they could be read from."""
        values = ((name.upper(), getattr(self, name)) for name in type(self).model_fields)
        return {name: str(value) for name, value in values if value not in {"", None}}

    def with_variables(self, variables: Mapping[str, str]) -> "StackSettings":
        """Returns the settings with those replaced that these variables name.

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
        lines = [explain(details) for details in error.errors(include_url=False)]
        raise StackError(f"{ENV_FILE.name} or the environment has a bad value: {'; '.join(lines)}") from None


def explain(details: ErrorDetails) -> str:
    """Describes one validation error by the name of its variable."""
    if not details["loc"]:
        return details["msg"].removeprefix("Value error, ")
    variable = str(details["loc"][0]).upper()
    return (
        f"{variable} is not set"
        if details["type"] == "missing"
        else f"{variable}={details['input']!r}: {details['msg']}"
    )
