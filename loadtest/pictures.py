"""The common style of the lab's pictures, and their output: SVG for pages, PNG for documents."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# A colour has the same meaning in every picture; the palette is safe for the colour-blind (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#767676"
BREAKER_COLOURS = {"closed": GREEN, "open": RED, "half_open": ORANGE, "forced_open": PURPLE, "disabled": GREY}
_DOTS_PER_INCH = 110
_LOOK: Any = {
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "path",
    # With a fixed salt the same run gives the same file.
    "svg.hashsalt": "telemetry",
}


@contextmanager
def look() -> Iterator[None]:
    """Applies the common style to figures that are made within the block."""
    with mpl.rc_context(_LOOK):
        yield


def as_svg(figure: Figure) -> str:
    """Returns the figure as an `<svg>` element for a page, without the header of a file."""
    text = io.StringIO()
    with look():
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG file for documents."""
    with look():
        figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
