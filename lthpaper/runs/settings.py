"""The paper's settings (§2.1) as constructors of runs, and trials: a run and its place in a figure."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from lthpaper import networks
from lthpaper.errors import require
from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs import pruning
from lthpaper.runs.pruning.imp import Imp
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind, Run, Task, setting
from lthpaper.store.store import Result, Store

SETTINGS = ("pretraining", "LT-IMP", "RR-IMP", "LT-OMP", "RR-OMP", "SDT")  # of the sanity check, §2.1


def pretraining(task: Task, recipe: Recipe, seed: int = 0) -> Run:
    """The dense network from θ0."""
    return Run(task, recipe, Fresh(seed), seed=seed)


def lt_imp(dense: Run, rounds: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """LT-IMP after `rounds` rounds, each trained from the same θ0 with the dense run's recipe.

    rounds=0 is the dense run itself.
    """
    require(
        type(rounds) is int and rounds >= 0,
        f"The number of IMP rounds is {rounds!r}; it must be a whole number from 0.",
    )
    run = dense
    for _ in range(rounds):
        run = dense.with_(mask=Imp(after=run, rate=rate))
    return run


def lt_omp(dense: Run, sparsity: float) -> Run:
    """LT-OMP: one-shot pruning of the dense run's θT, trained from θ0."""
    return dense.with_(mask=Omp(after=dense, sparsity=sparsity))


def random_reinit(run: Run) -> Run:
    """RR-IMP or RR-OMP: the same mask on θ0′, drawn independently of θ0."""
    require(isinstance(run.init, Fresh), f"{run} starts from rewound weights; only θ0 can be drawn anew.")
    return run.with_(init=Fresh(run.init.seed, draw=run.init.draw + 1))


def small_dense(subnetwork: Run) -> Run:
    """SDT: same depth, the width whose parameter count is nearest to the subnetwork's non-zeros."""
    require(
        isinstance(subnetwork.init, Fresh),
        f"{subnetwork} starts from rewound weights; a small dense network of another width cannot.",
    )
    task = subnetwork.task
    shape = task.shape
    del shape["width"]
    width = networks.small_dense_width(parameters=nonzeros(subnetwork), **shape)
    return subnetwork.with_(task=task.with_(width=width), mask=None)


def rewound(subnetwork: Run, dense: Run, epoch: int) -> Run:
    """Weight rewinding (Appendix D): θt ⊙ m of the dense run, trained for the rest of the recipe."""
    return subnetwork.with_(init=Rewind(to=dense, epoch=epoch))


def rewound_rounds(dense: Run, rounds: int, epoch: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """IMP rewound in every round (Frankle 2020): each round trains from the dense run's θt, the last one too.

    `rewound(lt_imp(dense, rounds), dense, epoch)` rewinds at the end alone: its mask is that of rounds from
    θ0. The settings are WR-IMPrewound and WR-IMP; after one round they are the same run.
    """
    check_rounds((rounds,))
    run = dense
    for _ in range(rounds):
        run = dense.with_(mask=Imp(after=run, rate=rate), init=Rewind(to=dense, epoch=epoch))
    return run


def fine_tuned(subnetwork: Run, dense: Run) -> Run:
    """Learning-rate rewinding: θT ⊙ m, trained with the whole recipe again."""
    return subnetwork.with_(init=Rewind(to=dense, epoch=dense.recipe.epochs, restart=True))


def nonzeros(run: Run) -> int:
    """Parameters that are not pruned, as the mask's rule states it (before any training)."""
    if run.mask is None:
        return run.task.parameters
    return run.task.parameters - round(run.mask.sparsity * sum(run.task.prunable_weights.values()))


def check_rounds(rounds: Iterable[int]) -> None:
    """Raises InputError unless each is a number of IMP rounds, from 1 to 30."""
    require(
        all(type(k) is int and 1 <= k <= 30 for k in rounds),
        f"rounds is {rounds}; each must be a whole number of IMP rounds from 1 to 30.",
    )


def check_once(of: object, *fields: str) -> None:
    """Raises InputError if one of these fields holds a value twice: its runs would count twice in a mean."""
    for field in fields:
        values = getattr(of, field)
        require(len(set(values)) == len(values), f"{field} is {values}; each value may stand there once.")


def imp_sparsity(rounds: int, rate: float = PRUNED_PER_ROUND) -> float:
    """s = 1 − (1 − rate)^k after k rounds (Table 1)."""
    return 1 - (1 - rate) ** rounds


@dataclass(frozen=True)
class Trial:
    """A run under the name and sparsity that a figure shows it at (an SDT run stands for a sparsity)."""

    setting: str
    sparsity: float
    run: Run


def sanity_check(
    task: Task,
    recipe: Recipe,
    learning_rates: Sequence[float],
    rounds: Sequence[int],
    seeds: int,
    settings: Iterable[str] = SETTINGS,
    rate: float = PRUNED_PER_ROUND,
) -> Iterator[Trial]:
    """Every setting at every learning rate, sparsity (by its number of IMP rounds) and seed.

    Raises InputError for an unknown setting.
    """
    wanted = set(settings)
    unknown = ", ".join(sorted(map(str, wanted - set(SETTINGS))))
    require(not unknown, f"Unknown setting {unknown}. Known: {', '.join(SETTINGS)}.")
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            if "pretraining" in wanted:
                yield Trial("pretraining", 0.0, dense)
            for k in rounds:
                s = imp_sparsity(k, rate)
                imp, omp = lt_imp(dense, k, rate), lt_omp(dense, s)
                made = {
                    "LT-IMP": lambda imp=imp: imp,
                    "RR-IMP": lambda imp=imp: random_reinit(imp),
                    "LT-OMP": lambda omp=omp: omp,
                    "RR-OMP": lambda omp=omp: random_reinit(omp),
                    "SDT": lambda omp=omp: small_dense(omp),
                }
                yield from (Trial(name, s, make()) for name, make in made.items() if name in wanted)


COLUMNS = [
    *("setting", "network", "data", "width", "epochs", "lr", "pretraining_lr", "sparsity", "seed", "rewind"),
    *("accuracy", "best_accuracy", "train_loss", "test_loss", "parameters", "fingerprint", "digest"),
]


def table(trials: Iterable[Trial], store: Store) -> pd.DataFrame:
    """One row a trial, in the columns COLUMNS; results that the store lacks are NaN.

    lr: of this training; pretraining_lr: of the run that its mask came from; rewind: the epoch whose
    weights it started from; accuracies in percent after the last (and the best) epoch; parameters:
    those that are not zero by the mask. A run whose mask comes from a diverged one counts as diverged.
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
    while (run := pretrained(run)) is not None:
        result = results(run)
        if result is not None and math.isnan(result.accuracy):
            return True
    return False


def pretrained(run: Run) -> Run | None:
    """The run that the mask comes from, or None."""
    found = None if run.mask is None else pruning.source(run.mask)
    found = found.to if isinstance(found, Rewind) else found
    return found if isinstance(found, Run) else None


def _row(trial: Trial, results: Callable[[Run], Result | None]) -> dict[str, object]:
    run, before = trial.run, pretrained(trial.run)
    row: dict[str, object] = {
        "setting": trial.setting or setting(run),
        "network": run.task.network,
        "data": run.task.data,
        "width": run.task.width,
        "epochs": run.recipe.epochs,
        "lr": run.recipe.lr,
        "pretraining_lr": math.nan if before is None else before.recipe.lr,
        "sparsity": trial.sparsity,
        "seed": run.seed,
        "rewind": run.init.epoch if isinstance(run.init, Rewind) else math.nan,
        "accuracy": math.nan,
        "best_accuracy": math.nan,
        "train_loss": math.nan,
        "test_loss": math.nan,
        "parameters": nonzeros(run),
        "fingerprint": "",
        "digest": run.digest,
    }
    result = results(run)
    if result is not None and not mask_diverged(run, results):
        row |= {
            "accuracy": result.accuracy,
            "best_accuracy": result.best_accuracy,
            "train_loss": result.curves["train_loss"][-1],
            "test_loss": result.curves["test_loss"][-1],
        }
    if result is not None:
        row |= {
            "parameters": run.task.parameters - sum(run.task.prunable_weights.values()) + result.kept,
            "fingerprint": result.fingerprint,
        }
    return row
