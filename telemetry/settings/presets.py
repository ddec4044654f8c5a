"""The values that each `ENVIRONMENT` sets unless an argument or a variable does."""

from collections.abc import Mapping
from typing import Any

_PRODUCTION: Mapping[str, Any] = {
    "max_queue_size": 8192,
    "max_export_batch_size": 1024,
    "schedule_delay_ms": 2000,
    "export_timeout_ms": 5000,
    "sampler_arg": 0.1,
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "development": {
        "max_queue_size": 2048,
        "max_export_batch_size": 512,
        "schedule_delay_ms": 1000,
        "export_timeout_ms": 3000,
        "sampler_arg": 1.0,
    },
    "staging": {**_PRODUCTION, "sampler_arg": 0.5},
    "production": _PRODUCTION,
}


def preset_of(environment: str) -> Mapping[str, Any]:
    """Returns the preset of an environment; an unknown one is treated as production."""
    return PRESETS.get(environment, _PRODUCTION)
