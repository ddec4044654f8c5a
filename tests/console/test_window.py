"""The time range of a dashboard."""

from console.dashboards.window import Window
from stack.backends.prometheus import Exemplar


def test_the_highest_exemplar_of_each_step_is_kept() -> None:
    """It may come from any series; the order is that of time."""
    window = Window(1000.0, 1300.0)
    assert window.step == 2
    exemplars = [
        Exemplar(1004.1, 3.0, "c"),
        Exemplar(1000.5, 5.0, "a"),
        Exemplar(1001.0, 7.0, "b"),
        Exemplar(1001.5, 6.0, "d"),
    ]
    assert window.highest_of_each_step(exemplars) == [Exemplar(1001.0, 7.0, "b"), Exemplar(1004.1, 3.0, "c")]
