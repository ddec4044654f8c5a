"""What all pictures of the lab have in common: one look, and SVG for pages, PNG for documents."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# One colour has one meaning on every picture; told apart by the colour-blind, too (Okabe and Ito).
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
    # The same run gives the same file.
    "svg.hashsalt": "telemetry",
}


@contextmanager
def look() -> Iterator[None]:
    """Figures that are made within it look alike."""
    with mpl.rc_context(_LOOK):
        yield


def as_svg(figure: Figure) -> str:
    """The figure as an element for a page, without the head of a file."""
    text = io.StringIO()
    with look():
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Writes the figure as a picture for documents."""
    with look():
        figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
