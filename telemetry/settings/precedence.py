"""Which source gives a setting where several could, and what depends on another setting.

Precedence: keyword argument, standard `OTEL_*` variable (`OTEL_RESOURCE_ATTRIBUTES` among them), short name,
preset of `ENVIRONMENT`, default.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .endpoint import default_endpoint
from .presets import preset_of
from .values import read_pairs

_RESOURCE_ATTRIBUTE_OF = {
    "service_name": "service.name",
    "service_version": "service.version",
    "environment": "deployment.environment.name",
}
GENERAL_FORM_OF = {
    "metrics_headers": ("OTEL_EXPORTER_OTLP_HEADERS",),
    "metrics_insecure": ("OTEL_EXPORTER_OTLP_INSECURE",),
}
"""The variables that a setting of pushed metrics shares with the traces, where it has none of its own."""
_NOTHING_OF: Mapping[str, object] = {"metrics_headers": {}, "metrics_insecure": False}


def fill_in(
    data: Mapping[str, Any], field_of: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The values by field, with those that another one decides.

    Args:
        data: what was given, by field or by variable.
        field_of: the field that each variable sets.
        environment: the process's variables.

    Raises:
        ValueError: a setting lacks another that it needs.
    """
    values = {field_of.get(key, key): value for key, value in data.items()}
    for field, attribute in _of_resource(values).items():
        standard = [name for name, of in field_of.items() if of == field and name.startswith("OTEL_")]
        # Only what is read wins: a variable that merely looks like a setting says nothing.
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
        # A preset must not make a small queue, asked for on its own, an error.
        values["max_export_batch_size"] = max(1, min(values["max_export_batch_size"], int(queue)))
    for field, (general,) in GENERAL_FORM_OF.items():
        # What is the traces' alone, a vendor's key most of all, is not for wherever metrics go.
        of_traces = general.replace("OTLP_", "OTLP_TRACES_")
        if of_traces in data and field not in given:
            values[field] = environment.get(general) or _NOTHING_OF[field]
    if not values.get("endpoint"):
        values["endpoint"] = default_endpoint(values.get("protocol", "grpc"))
    return values


def _of_resource(values: Mapping[str, Any]) -> dict[str, str]:
    """The settings that the resource attributes give."""
    attributes: object = None
    with suppress(ValueError):  # the field's own validator says it, with the variable's name
        attributes = read_pairs(values.get("resource_attributes") or {})
    if not isinstance(attributes, dict):
        return {}
    return {field: attributes[name] for field, name in _RESOURCE_ATTRIBUTE_OF.items() if name in attributes}
