"""How the rate changes over a run."""

import pytest

from loadtest.load.shapes import Shape, elapsed_after, rate_at

RATE, SECONDS = 50.0, 40.0
SHARES = {Shape.STEADY: 1.0, Shape.STEP: 0.6, Shape.SPIKE: 0.36, Shape.SOAK: 0.952}
"""The average share of the full rate over the run: the area under each shape."""


def at(shape: Shape, progress: float) -> float:
    """Returns the rate at a share of the run, as a share of the full rate."""
    return rate_at(shape, progress * SECONDS, rate=RATE, duration_seconds=SECONDS) / RATE


@pytest.mark.parametrize("shape", Shape)
def test_shape_makes_the_expected_number_of_requests(shape: Shape) -> None:
    """Counted one by one, they add up to the area under the shape."""
    elapsed, count = 0.0, 0
    while (
        elapsed := elapsed_after(shape, elapsed, 1.0, rate=RATE, duration_seconds=SECONDS)
    ) <= SECONDS + 1e-6:
        count += 1

    assert count == pytest.approx(SHARES[shape] * RATE * SECONDS, abs=1)


@pytest.mark.parametrize("shape", Shape)
def test_steps_of_any_size_agree(shape: Shape) -> None:
    """A hundred single steps take as long as one step of a hundred."""
    elapsed = 0.0
    for _ in range(100):
        elapsed = elapsed_after(shape, elapsed, 1.0, rate=RATE, duration_seconds=SECONDS)

    assert elapsed == pytest.approx(elapsed_after(shape, 0.0, 100.0, rate=RATE, duration_seconds=SECONDS))


def test_steady_is_steady() -> None:
    """The rate is the full one at any time."""
    assert {at(Shape.STEADY, progress / 10) for progress in range(20)} == {1.0}


def test_step_has_five_equal_stairs() -> None:
    """They rise to the full rate."""
    assert [at(Shape.STEP, progress) for progress in (0.1, 0.3, 0.5, 0.7, 0.9)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1.0]
    )


def test_spike_is_in_the_middle_fifth() -> None:
    """Before and after it, the rate is a fifth."""
    assert [at(Shape.SPIKE, progress) for progress in (0.0, 0.39, 0.41, 0.59, 0.61, 0.99)] == pytest.approx(
        [0.2, 0.2, 1.0, 1.0, 0.2, 0.2]
    )


def test_soak_climbs_slowly_and_holds() -> None:
    """It climbs over the first tenth, and not again when the run goes on."""
    assert [at(Shape.SOAK, progress) for progress in (0.0, 0.05, 0.1, 0.9, 1.05)] == pytest.approx(
        [0.2, 0.5, 1.0, 1.0, 1.0]
    )


def test_nobody_sleeps_through_a_spike() -> None:
    """A shopper that would wait 25 s at the earlier rate is due within the spike."""
    due = elapsed_after(Shape.SPIKE, 10.0, 250.0, rate=RATE, duration_seconds=SECONDS)

    # 10/s until 16 s are 60 requests; the other 190 come at 50/s.
    assert due == pytest.approx(16 + 190 / 50)
