"""The precedence of a setting's sources, and values that depend on other settings.

Precedence: keyword argument, standard `OTEL_*` variable (`OTEL_RESOURCE_ATTRIBUTES` among them), short name,
preset for `ENVIRONMENT`, default.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .endpoint import default_endpoint
from .grpc_target import is_local
from .presets import preset_of
from .timeout import DEFAULT_SECONDS, TIMEOUTS, in_seconds
from .values import read_pairs

_RESOURCE_ATTRIBUTE_OF = {
    "service_name": "service.name",
    "service_version": "service.version",
    "environment": "deployment.environment.name",
}
GENERAL_FORM_OF = {
    "metrics_headers": ("OTEL_EXPORTER_OTLP_HEADERS",),
    "metrics_insecure": ("OTEL_EXPORTER_OTLP_INSECURE",),
    "metrics_timeout_seconds": ("OTEL_EXPORTER_OTLP_TIMEOUT",),
    "metrics_compression": ("OTEL_EXPORTER_OTLP_COMPRESSION",),
    "metrics_certificate": ("OTEL_EXPORTER_OTLP_CERTIFICATE",),
    "metrics_client_key": ("OTEL_EXPORTER_OTLP_CLIENT_KEY",),
    "metrics_client_certificate": ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",),
}
"""The variables, shared with traces, to which a setting of pushed metrics falls back."""
_NOTHING_OF: Mapping[str, object] = {
    "metrics_headers": {},
    "metrics_timeout_seconds": DEFAULT_SECONDS,
    "metrics_compression": "none",
    "metrics_certificate": "",
    "metrics_client_key": "",
    "metrics_client_certificate": "",
}


def fill_in(
    data: Mapping[str, Any], field_of: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the values by field, including those that depend on other fields.

    Args:
        data: the given values, by field or by variable.
        field_of: the field that each variable sets.
        environment: the process's variables.

    Raises:
        ValueError: a setting needs another one, which is missing.
    """
    values: dict[str, Any] = {
        field_of.get(key, key): in_seconds(value) if key in TIMEOUTS else value for key, value in data.items()
    }
    for field, attribute in _of_resource(values).items():
        standard = [name for name, of in field_of.items() if of == field and name.startswith("OTEL_")]
        # Only variables that are read take precedence, not those that merely look like a setting.
        if field not in data and not any(map(environment.get, standard)):
            values[field] = attribute
    given = frozenset(values)
    for field, value in preset_of(values.get("environment", "development")).items():
        values.setdefault(field, value)
    if values.get("sampler") == "rate_limited" and "sampler_arg" not in given:
        raise ValueError(
            "OTEL_TRACES_SAMPLER=rate_limited needs OTEL_TRACES_SAMPLER_ARG, the most traces a second"
        )
    queue = str(values["max_queue_size"])
    if "max_export_batch_size" not in given and queue.isdecimal():
        # A preset's batch size must not make a small queue, set on its own, an error.
        values["max_export_batch_size"] = max(1, min(values["max_export_batch_size"], int(queue)))
    for field, (general,) in GENERAL_FORM_OF.items():
        # Values for traces only, such as a vendor's key, must not be used for the metrics endpoint.
        of_traces = general.replace("OTLP_", "OTLP_TRACES_")
        if of_traces in data and environment.get(of_traces) and field not in given:
            value = environment.get(general) or _without_any(field, values)
            values[field] = in_seconds(value) if general in TIMEOUTS else value
    if not values.get("endpoint"):
        values["endpoint"] = default_endpoint(values.get("protocol", "grpc"))
    return values


def _without_any(field: str, values: Mapping[str, Any]) -> object:
    """Returns what a setting of pushed metrics is where there is neither their own nor a general one."""
    if field != "metrics_insecure":
        return _NOTHING_OF[field]
    return is_local(str(values.get("metrics_endpoint") or values.get("endpoint")).strip())


def _of_resource(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings that the resource attributes give."""
    attributes: object = None
    with suppress(ValueError):  # the field's own validator reports it, with the variable's name
        attributes = read_pairs(values.get("resource_attributes") or {})
    if not isinstance(attributes, dict):
        return {}
    return {field: attributes[name] for field, name in _RESOURCE_ATTRIBUTE_OF.items() if name in attributes}
