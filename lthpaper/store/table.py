"""The tidy table: one row per trial, with what the store holds of its run."""

import functools
import math
from collections.abc import Callable, Iterable

import pandas as pd

from lthpaper.runs import convergence
from lthpaper.runs.run import Rewind, Run, pretrained, runs_in, setting
from lthpaper.runs.settings import Trial, nonzeros
from lthpaper.store.store import Result, Store
from lthpaper.training.result import VALIDATION

COLUMNS = [
    *("setting", "network", "data", "width", "epochs", "lr", "pretraining_lr", "sparsity", "seed", "rewind"),
    *("accuracy", "best_accuracy", "train_loss", "test_loss", "parameters", "fingerprint", "digest"),
    *("loss_left", "loss_falling", "validation_accuracy"),
]


def table(trials: Iterable[Trial], store: Store) -> pd.DataFrame:
    """One row per trial, in the columns COLUMNS; NaN for results that the store lacks.

    lr: of this training; pretraining_lr: of the run that its mask came from; rewind: the epoch whose
    weights it started from; accuracies in percent after the last (and the best) epoch; parameters:
    those that are not zero by the mask; loss_left, loss_falling: of `runs.convergence`; validation_accuracy:
    after the last epoch, of runs that hold images out. A run whose mask comes from a diverged one counts as
    diverged.
    """
    results = reader(store)
    return pd.DataFrame([_row(trial, results) for trial in trials], columns=COLUMNS)


def reader(store: Store) -> Callable[[Run], Result | None]:
    """What the store knows of a run, None if it is not there; each is read once."""
    return functools.cache(lambda run: store.get(run) if run in store else None)


def mask_diverged(run: Run, results: Callable[[Run], Result | None]) -> bool:
    """Did a run that the mask comes from diverge? Weights that are not finite have no magnitudes to rank.

    The mask made of them is there, but goes by the order of the layers; nor does an accuracy that was
    reached with it say anything of LT or RR.
    """
    for named in runs_in(run.mask):  # a permuted mask comes from two dense networks beside its own
        source: Run | None = named
        while source is not None:
            result = results(source)
            if result is not None and math.isnan(result.accuracy):
                return True
            source = pretrained(source)
    return False


def described(run: Run) -> dict[str, object]:
    """The columns that are known before a run is trained."""
    before = pretrained(run)
    return {
        "setting": setting(run),
        "network": run.task.network,
        "data": run.task.data,
        "width": run.task.width,
        "epochs": run.recipe.epochs,
        "lr": run.recipe.lr,
        "pretraining_lr": math.nan if before is None else before.recipe.lr,
        "seed": run.seed,
        "rewind": run.init.epoch if isinstance(run.init, Rewind) else math.nan,
        "digest": run.digest,
    }


def reached(result: Result) -> dict[str, object]:
    """The columns of what a training reached: accuracies in percent, losses after the last epoch."""
    return {
        "accuracy": result.accuracy,
        "best_accuracy": result.best_accuracy,
        "train_loss": result.curves["train_loss"][-1],
        "test_loss": result.curves["test_loss"][-1],
    }


def _row(trial: Trial, results: Callable[[Run], Result | None]) -> dict[str, object]:
    run = trial.run
    row = dict.fromkeys(COLUMNS, math.nan) | described(run)
    row |= {"sparsity": trial.sparsity, "parameters": nonzeros(run), "fingerprint": ""}
    row["setting"] = trial.setting or row["setting"]
    result = results(run)
    if result is not None and not mask_diverged(run, results):
        row |= reached(result) | {
            "loss_left": convergence.loss_left(result.curves["train_loss"]),
            "loss_falling": convergence.loss_falling(
                result.curves["train_loss"], run.recipe, run.first_epoch
            ),
            "validation_accuracy": result.curves.get(VALIDATION, [math.nan])[-1],
        }
    if result is not None:
        row |= {
            "parameters": run.task.parameters - sum(run.task.prunable_weights.values()) + result.kept,
            "fingerprint": result.fingerprint,
        }
    return row


def curves(results: Iterable[Result]) -> pd.DataFrame:
    """One row per run and epoch: train_loss, test_loss, test_accuracy in percent, and validation_accuracy of
    runs that hold images out; NaN where not tested."""
    frames = []
    for result in results:
        run = result.run
        about: dict[str, object] = {
            "setting": setting(run),
            "network": run.task.network,
            "data": run.task.data,
        }
        about |= {"lr": run.recipe.lr, "sparsity": round(result.sparsity, 6), "seed": run.seed}
        frame = pd.DataFrame(result.curves)
        frame.insert(0, "epoch", range(run.first_epoch + 1, run.first_epoch + 1 + len(frame)))
        frames.append(frame.assign(**about, digest=run.digest))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def layers(run: Run, store: Store) -> pd.DataFrame:
    """One row per prunable layer of a trained run: its weights, those that the mask keeps, its sparsity.

    Raises KeyError if the run, or its mask, is not in the store.
    """
    _, mask = store.weights(run)
    sizes = run.task.prunable_weights
    kept = {name: int(mask[name].sum()) if mask else count for name, count in sizes.items()}
    rows = [(name, count, kept[name], 1 - kept[name] / count) for name, count in sizes.items()]
    return pd.DataFrame(rows, columns=["layer", "weights", "kept", "sparsity"])
