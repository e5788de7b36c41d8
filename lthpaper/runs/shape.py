"""What can be trained, and what can be trained together."""

from lthpaper.errors import require
from lthpaper.runs.run import Run


def shape_key(run: Run) -> tuple:
    """Runs with equal keys can share a pack: all but learning rate, start, mask and seed are equal."""
    recipe = run.recipe.with_(lr=1.0, schedule="step", milestones=())
    return (run.task, recipe, run.first_epoch, run.topology)


def check_trainable(run: Run) -> None:
    """Raise InputError if a run begins where its recipe ends: it would have no accuracy."""
    require(
        run.cost >= 1,
        f"{run} begins after epoch {run.first_epoch} of a recipe of {run.recipe.epochs}: nothing is left to "
        "train. Rewind to an earlier epoch, or restart the schedule.",
    )
