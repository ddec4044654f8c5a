"""Labels of points in a plot, placed so that none covers another one, a point or its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

_SIZE = 8
_POINT = 5
"""Half the width of what a point itself covers, in points of the page."""
# Right, left, above and below, then the corners, nearer places first.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (8, 16, 28, 42)


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a point of the data."""

    text: str
    point: tuple[float, float]


def place_labels(figure: Figure, axes: Axes, labels: Sequence[Label]) -> list[Annotation]:
    """Draws the labels that find room, the first ones first; returns them.

    To be called when everything else is drawn, because it is drawn around.
    """
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # the layout, on which places depend
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    per_point = figure.dpi / 72
    around = _POINT * per_point
    taken = []
    for label in labels:
        x, y = axes.transData.transform(label.point)
        taken.append(Bbox.from_extents(x - around, y - around, x + around, y + around))
    taken += _intervals(axes)
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent(renderer))
    placed = []
    for label in labels:
        for distance, direction in ((far, to) for far in _DISTANCES for to in _DIRECTIONS):
            drawn = _draw(axes, label, direction, distance)
            drawn.update_positions(renderer)
            # Of the text alone: the arrow may cross what the text may not.
            text = Text.get_window_extent(drawn, renderer)
            inside = axes.bbox.x0 <= text.x0 and text.x1 <= axes.bbox.x1
            inside = inside and axes.bbox.y0 <= text.y0 and text.y1 <= axes.bbox.y1
            if inside and not any(text.overlaps(other) for other in taken):
                taken.append(text)
                placed.append(drawn)
                break
            drawn.remove()
    return placed


def _intervals(axes: Axes) -> list[Bbox]:
    """Returns where error bars are."""
    bars = [each for each in axes.collections if isinstance(each, LineCollection)]
    segments = [axes.transData.transform(segment) for bar in bars for segment in bar.get_segments()]
    return [Bbox([segment.min(axis=0) - 1, segment.max(axis=0) + 1]) for segment in segments]


def _draw(axes: Axes, label: Label, direction: tuple[int, int], distance: int) -> Annotation:
    sideways, upwards = direction
    drawn = axes.annotate(
        label.text,
        label.point,
        xytext=(sideways * distance, upwards * distance),
        textcoords="offset points",
        fontsize=_SIZE,
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        zorder=5,
        ha={1: "left", -1: "right", 0: "center"}[sideways],
        va={1: "bottom", -1: "top", 0: "center"}[upwards],
        # A label that is not beside its point is tied to it.
        arrowprops=None
        if distance == _DISTANCES[0]
        else {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
    )
    drawn.set_in_layout(False)
    return drawn
