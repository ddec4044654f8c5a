"""Which traces are kept: the sampler that a configuration names."""

from typing import Any

from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from .config import TelemetryConfig


class AdjustableSampler(Sampler):
    """The sampler of `OTEL_TRACES_SAMPLER`, whose ratio can be changed while it runs. Thread-safe.

    Args:
        config: names the sampler and its ratio.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        self._name = config.sampler
        self._ratio = config.sampling_ratio
        self._inner = _build(self._name, self._ratio)

    @property
    def ratio(self) -> float:
        """The share of new traces that is kept."""
        return self._ratio

    @property
    def is_adjustable(self) -> bool:
        """Whether it has a ratio to change: the samplers of everything and of nothing have none."""
        return self._name.endswith("traceidratio")

    def adjust(self, ratio: float) -> None:
        """Keeps this share of new traces from now on; traces under way are kept as they began.

        Raises:
            ValueError: the ratio is not within 0 to 1, or the sampler has none.
        """
        if not self.is_adjustable:
            raise ValueError(
                f"sampling_ratio={ratio!r} cannot be set: OTEL_TRACES_SAMPLER is {self._name}, which has no "
                "ratio; use parentbased_traceidratio"
            )
        # Each is replaced as a whole; a reader may see the new one of the first for an instant.
        self._inner = _build(self._name, ratio)
        self._ratio = ratio

    def should_sample(self, *arguments: Any, **options: Any) -> SamplingResult:
        """Decides as the sampler in effect does."""
        return self._inner.should_sample(*arguments, **options)

    def get_description(self) -> str:
        """The description of the sampler in effect."""
        return self._inner.get_description()


def _build(name: str, ratio: float) -> Sampler:
    short = name.removeprefix("parentbased_")
    if short == "traceidratio":
        root: Sampler = TraceIdRatioBased(ratio)
    else:
        root = ALWAYS_ON if short == "always_on" else ALWAYS_OFF
    return ParentBased(root) if name.startswith("parentbased_") else root
