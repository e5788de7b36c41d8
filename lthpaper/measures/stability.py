"""Instability analysis and linear mode connectivity (Frankle 2020): when has a training settled in a basin?

Two siblings start from the same θk and train on in two orders of the data (SGD's noise). Along the line
between their ends lies

    barrier = max_α error(α θ₁ + (1 − α) θ₂) − (error(θ₁) + error(θ₂)) / 2,   α in [0, 1], points of error

A run is stable from k on where the barrier is about 0. Batch-norm statistics do not interpolate: at every
point they are estimated anew on training images, as at the ends.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lthpaper import networks
from lthpaper.data import DataSet, Images
from lthpaper.data.augment import as_tested
from lthpaper.errors import InputError
from lthpaper.measures.batch_norm import estimate_statistics
from lthpaper.measures.intervals import grain_of, student
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.runs.siblings import of_scale, pairs
from lthpaper.runs.task import Task
from lthpaper.store.entry import WEIGHTS
from lthpaper.store.measurements import key_of, measured
from lthpaper.store.store import Store
from lthpaper.store.table import described
from lthpaper.training.result import Weights

POINTS = 11  # of a line
STABLE = 2.0  # points of error; a smaller barrier is noise (Frankle 2020, §3)
PARTS = ("train", "test")  # which error
BATCH = 500
MEASUREMENT = "line"  # the name that errors along a line are kept under


def line(first: Weights, second: Weights, alpha: float, names: Sequence[str]) -> Weights:
    """α·first + (1 − α)·second of the parameters `names`; the buffers are the first's."""
    return {n: alpha * w + (1 - alpha) * second[n] if n in names else w for n, w in first.items()}


@torch.no_grad()
def errors(task: Task, weights: Weights, data: DataSet) -> tuple[float, float]:
    """(training error, test error), percent, after batch-norm statistics were estimated anew.

    Training images are neither cropped nor flipped. Raises InputError if the images stay in files.
    """
    images = data.images
    if not isinstance(images, Images):
        raise InputError(f"Errors along a line need images in memory; those of {data.name} stay in files.")
    network = networks.loaded(weights, **task.shape)
    train, test = (as_tested(pixels, data.card, torch.float32) for pixels in (images.train, images.test))
    estimate_statistics(network, train.split(BATCH))
    return _error(network, train, images.train_labels), _error(network, test, images.test_labels)


def _error(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    right = sum(
        int((network(x).argmax(1) == y).sum())
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
    )
    return 100 * (1 - right / len(labels))


def connection(first: Run, second: Run, store: Store, data: DataSet, points: int = POINTS) -> pd.DataFrame:
    """Errors along the line between two trained runs: alpha, train_error, test_error; alpha 1 is `first`."""
    start, end = (store.weights(run)[0] for run in (first, second))
    rows = []
    for alpha in np.linspace(0, 1, points):
        train, test = errors(first.task, line(start, end, float(alpha), first.task.parameter_names), data)
        rows.append({"alpha": float(alpha), "train_error": train, "test_error": test})
    return pd.DataFrame(rows)


def barrier(errors_: pd.Series) -> float:
    """Of the errors along a line, points: the highest less the mean of the two ends; never below 0."""
    return float(max(errors_.max() - (errors_.iloc[0] + errors_.iloc[-1]) / 2, 0.0))


def barriers(
    trials: Sequence[Trial], store: Store, data: Callable[[], DataSet] | None = None
) -> pd.DataFrame:
    """One row per pair of siblings, in the columns BARRIERS, of those whose line was kept or published. A
    line that was not is worked out where both weights are there, on the images that `data` loads, and kept;
    None leaves such pairs out. seed: the pretraining's. train, test: barriers of the errors, points; NaN
    where a sibling diverged."""
    rows = []
    for first, second in pairs(trial.run for trial in trials):
        if first not in store or second not in store:
            continue
        about = described(first) | {"seed": first.init.to.seed, "k": first.init.epoch}
        if _diverged(first, second, store):
            rows.append(about | dict.fromkeys(PARTS, math.nan))
            continue

        def work_out(first: Run = first, second: Run = second) -> pd.DataFrame | None:
            there = store.has_weights(first) and store.has_weights(second)
            return connection(first, second, store, data()) if data is not None and there else None

        along = measured(store, first, MEASUREMENT, _key(first, second, store), work_out)
        if along is not None:
            rows.append(about | {part: barrier(along[f"{part}_error"]) for part in PARTS})
    return pd.DataFrame(rows, columns=list(BARRIERS))


def _diverged(first: Run, second: Run, store: Store) -> bool:
    return any(math.isnan(store.get(run).accuracy) for run in (first, second))


def _key(first: Run, second: Run, store: Store) -> str:
    """A hash of what a line depends on: the weights at its ends, the images, the number of points."""
    ends = [store.get(run) for run in (first, second)]
    return key_of([end.files.get(WEIGHTS, "") for end in ends], ends[0].fingerprint, POINTS)


def is_measured(run: Run, store: Store, scale: Scale | None = None) -> bool:
    """Whether the line between a sibling and the other one is kept or published, or one of them diverged."""
    for first, second in pairs([run]):
        if first not in store or second not in store:
            return False
        if not _diverged(first, second, store):
            key = _key(first, second, store)
            if store.measurement(first, MEASUREMENT, key) is None:
                return False
    return True


def keep(scale: Scale) -> dict[Run, frozenset[int]]:
    """What lines are worked out of: θT of the siblings."""
    runs = (run for pair in pairs(trial.run for trial in of_scale(scale)) for run in pair)
    return {run: frozenset({run.recipe.epochs}) for run in runs}


BARRIERS = ("network", "data", "epochs", "lr", "seed", "k", *PARTS)


def intervals(table: pd.DataFrame) -> pd.DataFrame:
    """One row per learning rate and k: mean barrier of the test error, low and high (Student's 95 % interval
    over seeds, NaN for one), n, and how many pairs diverged, which the others leave out. table: of
    `barriers`."""
    rows = []
    for (lr, k), cell in table.groupby(["lr", "k"]):
        found = cell["test"].dropna()
        n = len(found)
        mean, low, high = student(found.to_numpy(), grain_of(table)) if n else (math.nan,) * 3
        row = {"lr": lr, "k": k, "mean": mean, "low": max(low, 0.0), "high": high, "n": n}
        rows.append(row | {"diverged": len(cell) - n})
    return pd.DataFrame(rows, columns=["lr", "k", "mean", "low", "high", "n", "diverged"])


def seen(table: pd.DataFrame) -> str:
    """From which k on a training is stable, by the means and with 95 % confidence, and the barriers, in one
    sentence per learning rate. table: of `barriers`."""
    lines = []
    for lr, rows in intervals(table).groupby("lr"):
        by_means = _onwards(rows["k"], rows["mean"] < STABLE)
        surely = _onwards(rows["k"], rows["high"] < STABLE)
        said = f"is stable from epoch {by_means} on" if by_means is not None else "is stable at no k tried"
        if surely is not None:
            said += f", with 95 % confidence from {surely} on"
        cells = ", ".join(_cell(row) for row in rows.itertuples())
        bars = " (and its 95 % interval)" if rows["high"].notna().any() else ""
        lost = int(rows["diverged"].sum())
        gone = f"; {lost} pair{'s' * (lost > 1)} diverged" if lost else ""
        lines.append(
            f"Learning rate {lr:g}: training {said}; mean barrier of the test error in points{bars}: {cells}"
            f"{gone}."
        )
    return "\n".join(lines) or "Nothing has run yet."


def _onwards(epochs: pd.Series, below: pd.Series) -> int | None:
    """The first epoch from which on it holds at every one; None if it does not hold at the last."""
    holding = list(itertools.takewhile(lambda pair: pair[1], zip(epochs[::-1], below[::-1], strict=True)))
    return holding[-1][0] if holding else None


def _cell(row: Any) -> str:
    """ "k = 8: 1.2 (0.9 … 1.5), n = 10" """
    if not row.n:
        return f"k = {row.k}: every pair diverged"
    interval = f" ({row.low:.1f} … {row.high:.1f})" if math.isfinite(row.high) else ""
    return f"k = {row.k}: {row.mean:.1f}{interval}, n = {row.n}"
