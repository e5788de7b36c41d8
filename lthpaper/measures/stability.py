"""Instability analysis and linear mode connectivity (Frankle 2020): when does a training settle its basin?

Two siblings start from the same θk and train on in two orders of the data (SGD's noise). Along the line
between their ends lies

    barrier = max_α error(α θ₁ + (1 − α) θ₂) − (error(θ₁) + error(θ₂)) / 2,   α in [0, 1], points of error

A run is stable from k on where the barrier is about 0. Batch-norm statistics do not interpolate: at every
point they are estimated anew on training images, as at the ends.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lthpaper import networks
from lthpaper.data import DataSet, Images
from lthpaper.data.augment import derived_seed, normalised
from lthpaper.errors import InputError
from lthpaper.measures.batch_norm import estimate_statistics
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Rewind, Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.training.result import Weights

POINTS = 11  # of a line
SHARES = (0.0, 0.0125, 0.05, 0.2)  # of the epochs, k: 0, 2, 8 and 32 of 160
BATCH = 500


def siblings(run: Run, epoch: int) -> tuple[Run, Run]:
    """Two runs from the run's θk that differ in the order (and augmentation) of the data alone."""
    seeds = (derived_seed("sibling", run.seed, i) for i in (0, 1))
    first, second = (run.with_(init=Rewind(to=run, epoch=epoch), seed=seed) for seed in seeds)
    return first, second


def epochs_of(recipe: Recipe, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """The epochs k at these shares of a recipe, each once."""
    return tuple(sorted({min(round(share * recipe.epochs), recipe.epochs - 1) for share in shares}))


def stability(task: Task, recipe: Recipe, learning_rates: Sequence[float], seeds: int) -> Iterator[Trial]:
    """Both siblings of every pretraining at every k, and the pretraining."""
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            yield Trial("pretraining", 0.0, dense)
            for k in epochs_of(recipe):
                yield from (Trial(f"sibling {i}", 0.0, r) for i, r in enumerate(siblings(dense, k), 1))


def of_scale(scale: Scale) -> list[Trial]:
    """Pairs of siblings of the scale's pretraining at Figure 1's learning rates."""
    recipe = scale.recipe_for(scale.data)
    return list(stability(scale.task, recipe, scale.learning_rates, scale.seeds))


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
        raise InputError(f"Errors along a line need images in memory; {data.name} is files.")
    network = networks.build_seeded(0, **task.shape)
    network.load_state_dict(weights)
    train, test = (_normalised(pixels, data) for pixels in (images.train, images.test))
    estimate_statistics(network, train.split(BATCH))
    return _error(network, train, images.train_labels), _error(network, test, images.test_labels)


def _normalised(pixels: Tensor, data: DataSet) -> Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (data.card.mean, data.card.std))
    return normalised(pixels.permute(0, 3, 1, 2), mean, std, torch.float32)


def _error(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    right = sum(
        int((network(x).argmax(1) == y).sum())
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
    )
    return 100 * (1 - right / len(labels))


def connection(first: Run, second: Run, store: Store, data: DataSet, points: int = POINTS) -> pd.DataFrame:
    """Errors along the line between two trained runs: alpha, train_error, test_error; alpha 1 is `first`."""
    start, end = (store.weights(run)[0] for run in (first, second))
    names = [name for name, _ in networks.skeleton(**first.task.shape).named_parameters()]
    rows = []
    for alpha in np.linspace(0, 1, points):
        train, test = errors(first.task, line(start, end, float(alpha), names), data)
        rows.append({"alpha": float(alpha), "train_error": train, "test_error": test})
    return pd.DataFrame(rows)


def barrier(errors_: pd.Series) -> float:
    """Of the errors along a line, points: the highest less the mean of the two ends; never below 0."""
    return float(max(errors_.max() - (errors_.iloc[0] + errors_.iloc[-1]) / 2, 0.0))


def barriers(trials: Sequence[Trial], store: Store, data: DataSet, points: int = POINTS) -> pd.DataFrame:
    """One row a pair of siblings that the store has whole: network, data, epochs, lr, seed (the
    pretraining's), k, and the barriers of training and test error."""
    rows = []
    runs = [t.run for t in trials if t.setting.startswith("sibling")]
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        if store.has_weights(first) and store.has_weights(second):
            along = connection(first, second, store, data, points)
            about = {"network": first.task.network, "data": first.task.data, "epochs": first.recipe.epochs}
            about |= {"lr": first.recipe.lr, "seed": first.init.to.seed, "k": first.init.epoch}
            about |= {part: barrier(along[f"{part}_error"]) for part in ("train", "test")}
            rows.append(about)
    return pd.DataFrame(rows, columns=list(BARRIERS))


BARRIERS = ("network", "data", "epochs", "lr", "seed", "k", "train", "test")


def seen(table: pd.DataFrame, stable: float = 2.0) -> str:
    """From which k on a training is stable by the means, a sentence a learning rate. table: of `barriers`."""
    lines = []
    for lr, rows in table.groupby("lr"):
        means = rows.groupby("k")["test"].mean()
        above = means[means >= stable]
        later = means[means.index > above.index.max()] if len(above) else means
        when = f"stable from epoch {later.index.min()} on" if len(later) else "not stable at any k tried"
        ends = (f"{means.iloc[i]:.1f} points at k = {means.index[i]}" for i in (0, -1))
        lines.append(
            f"Learning rate {lr:g}: {when}; the mean barrier of the test error is {', '.join(ends)}."
        )
    return "\n".join(lines) or "Nothing has run yet."
