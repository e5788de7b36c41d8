"""Has a training converged? What is left of its loss, and was it still falling at the initial rate?"""

import math

import pytest

from lthpaper.runs.convergence import converged, loss_falling, loss_left
from lthpaper.runs.recipe import Recipe

STEP = Recipe(epochs=160)  # the rate falls after 80 and 120


def curve(at_first, at_drop, at_end):
    """Straight from the first epoch to the drop, then flat."""
    slope = [at_first + (at_drop - at_first) * i / 79 for i in range(80)]
    return slope + [at_end] * 80


def test_a_loss_that_is_small_has_converged_however_steeply_it_fell():
    losses = curve(2.0, 0.4, 0.3)
    assert loss_left(losses) == pytest.approx(0.15)
    assert converged(loss_left(losses), loss_falling(losses, STEP))


def test_a_loss_that_was_still_falling_when_the_rate_dropped_has_not_though_it_is_flat_after():
    losses = curve(2.0, 1.2, 1.1)
    assert loss_falling(losses, STEP) == pytest.approx(0.8 / 2 * 16 / 79, rel=0.01)
    assert not converged(loss_left(losses), loss_falling(losses, STEP))


def test_a_loss_that_stays_large_but_had_stopped_falling_has_converged():
    losses = [7.0, *[2.5] * 159]
    assert converged(loss_left(losses), loss_falling(losses, STEP))


def test_a_rewound_loss_is_looked_at_before_the_same_milestone():
    losses = curve(2.0, 1.2, 1.1)
    late = loss_falling(losses[16:], STEP, first_epoch=16)
    assert late * losses[16] == pytest.approx(loss_falling(losses, STEP) * losses[0])
    assert math.isnan(loss_falling(losses[90:], STEP, first_epoch=90))  # it begins at a lower rate


def test_cosine_looks_at_the_last_tenth():
    falling = [3.0 - 2 * i / 159 for i in range(160)]
    recipe = Recipe(epochs=160, schedule="cosine")
    assert loss_falling(falling, recipe) == pytest.approx(2 / 3 * 16 / 159, rel=0.01)


def test_a_training_too_short_to_tell_has_not_converged_unless_little_is_left():
    assert math.isnan(loss_falling([2.3, 2.2], Recipe(epochs=2)))
    assert not converged(0.95, math.nan)
    assert converged(0.1, math.nan)
    assert converged(math.nan, math.nan) is None
