"""Displays Grafana's units: a factor for the numbers, and the name of the displayed unit."""

import math

_KNOWN = {
    "reqps": (1.0, "requests/s"),
    "ops": (1.0, "calls/s"),
    "percentunit": (100.0, "%"),
    "ms": (1.0, "ms"),
    "short": (1.0, ""),
    "none": (1.0, ""),
}
_SUFFIX = "suffix: "
_SECONDS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_LARGEST_OF_A_UNIT = 3


def scale(unit: str, largest: float) -> tuple[float, str]:
    """Returns the factor that converts numbers of a unit for display, and the name of the resulting unit.

    Args:
        unit: the unit, as a panel names it.
        largest: the largest of the numbers, which decides between, for example, KiB and MiB.
    """
    if unit.startswith(_SUFFIX):
        return 1.0, unit.removeprefix(_SUFFIX)
    if unit in _KNOWN:
        return _KNOWN[unit]
    if unit == "s":
        return _fitting(_SECONDS, largest, at_least=_LARGEST_OF_A_UNIT if largest >= 1 else 1)
    if unit in {"bytes", "binBps"}:
        factor, name = _fitting(_BYTES, largest, at_least=1)
        return factor, f"{name}/s" if unit == "binBps" else name
    return 1.0, unit


def text(unit: str, value: float) -> str:
    """Formats a number with its unit."""
    if math.isnan(value):
        return "no data"
    factor, name = scale(unit, abs(value))
    number = value * factor
    digits = f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"  # noqa: PLR2004
    return f"{digits} {name}".rstrip()


def _fitting(sizes: tuple[tuple[float, str], ...], largest: float, *, at_least: float) -> tuple[float, str]:
    for size, name in sizes:
        if largest >= size * (at_least if size > 1 else 1):
            return 1 / size, name
    return 1 / sizes[-1][0], sizes[-1][1]
