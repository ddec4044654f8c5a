"""Which traces are kept: the sampler that a configuration names."""

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from .config import TelemetryConfig


def build_sampler(config: TelemetryConfig) -> Sampler:
    """The sampler of `OTEL_TRACES_SAMPLER`, with its argument."""
    name = config.sampler.removeprefix("parentbased_")
    if name == "traceidratio":
        root: Sampler = TraceIdRatioBased(config.sampler_arg)
    else:
        root = ALWAYS_ON if name == "always_on" else ALWAYS_OFF
    return ParentBased(root) if config.sampler.startswith("parentbased_") else root
