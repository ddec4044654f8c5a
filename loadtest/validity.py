"""Requirements on the load generator for a run to be valid, whatever it measures."""

from loadtest.load.report import LoadResult

FEWEST_OF_RATE = 0.99
MOST_GENERATOR_CPU = 0.85


def is_saturated(load: LoadResult) -> bool:
    """Returns whether the generator was so busy that it measured itself."""
    return load.generator_cpu_share > MOST_GENERATOR_CPU


def keeps_its_rate(achieved_share: float) -> bool:
    """Returns whether enough of the intended requests were made."""
    return achieved_share >= FEWEST_OF_RATE
