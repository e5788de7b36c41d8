"""Has a training converged? Its training loss tells: how much is left, and whether it still falls.

The paper asks that T be sufficient (①) and gives no measure. Ours: a training has converged if its final
training loss is at most a quarter of what it began with, or, where a loss cannot get there (many classes,
mixup, label smoothing), if it had stopped falling. After a step of the schedule every loss is flat, since
the steps are small, so it is looked at while the rate is still the initial one: over the tenth of T that
ends at the first milestone. Without milestones (cosine) it is the last tenth.

On the digits (ResNet-8, batch 50, means of ten seeds) the smallest rate 0.001 ends at 0.70 of its start after
160 epochs, falling by 0.06 in that tenth; 0.005 ends at 0.07, and at 0.21 after 78 epochs.
"""

import math
from collections.abc import Sequence

from lthpaper.runs.recipe import Recipe

ENOUGH_LEFT = 0.25  # of the loss at the start
STILL_FALLING = 0.02  # of the loss at the start, in a tenth of T
TENTH = 10


def loss_left(train_loss: Sequence[float]) -> float:
    """The last epoch's training loss over the first's."""
    return _over(train_loss[-1], train_loss[0])


def loss_falling(train_loss: Sequence[float], recipe: Recipe, first_epoch: int = 0) -> float:
    """How much the loss fell, over the first epoch's, in the tenth of T that ends at the first milestone:
    mean of its second half against its first. NaN where that is less than four epochs.

    first_epoch: of the schedule, at which a rewound run begins; T counts from the schedule's start."""
    drops = recipe.milestones if recipe.schedule == "step" else ()
    end = min((*(drop - first_epoch for drop in drops), len(train_loss)))
    long = max((first_epoch + len(train_loss)) // TENTH, 4)
    if end < long:
        return math.nan
    half = long // 2
    before, after = train_loss[end - 2 * half : end - half], train_loss[end - half : end]
    return _over(2 * (sum(before) - sum(after)) / half, train_loss[0])


def converged(left: float, falling: float) -> bool | None:
    """From both; None where neither was recorded."""
    if math.isnan(left):
        return None
    return left <= ENOUGH_LEFT or falling < STILL_FALLING


def _over(loss: float, start: float) -> float:
    return loss / start if start > 0 else math.nan
