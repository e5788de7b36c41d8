"""Siblings: two runs from one θk that differ in the order of the data alone (Frankle 2020).

`measures.stability` says how high the barrier of error between their ends is.
"""

from collections.abc import Iterable, Iterator, Sequence

from lthpaper.data.augment import derived_seed
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Rewind, Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, pretraining, sanity_check
from lthpaper.runs.task import Task

SIBLING = "sibling "  # begins the name of a setting
SHARES = (0.0, 0.0125, 0.05, 0.2)  # of the epochs, k: 0, 2, 8 and 32 of 160


def siblings(run: Run, epoch: int) -> tuple[Run, Run]:
    """Two runs from the run's θk that differ in the order (and augmentation) of the data alone."""
    seeds = (derived_seed("sibling", run.seed, i) for i in (0, 1))
    first, second = (run.with_(init=Rewind(to=run, epoch=epoch), seed=seed) for seed in seeds)
    return first, second


def epochs_of(recipe: Recipe) -> tuple[int, ...]:
    """The epochs k at SHARES of a recipe, each once."""
    return tuple(sorted({min(round(share * recipe.epochs), recipe.epochs - 1) for share in SHARES}))


def stability(task: Task, recipe: Recipe, learning_rates: Sequence[float], seeds: int) -> Iterator[Trial]:
    """Both siblings of every pretraining at every k, and the pretraining."""
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            yield Trial("pretraining", 0.0, dense)
            for k in epochs_of(recipe):
                yield from (Trial(f"{SIBLING}{i}", 0.0, r) for i, r in enumerate(siblings(dense, k), 1))


def is_sibling(trial: Trial) -> bool:
    """Whether a run of `stability` is one of two siblings: its seed is an order of the data, of its own."""
    return trial.setting.startswith(SIBLING)


def of_scale(scale: Scale) -> list[Trial]:
    """Pairs of siblings of the scale's pretraining at Figure 1's learning rates, and Figure 1's LT-IMP: does
    stability say where it matches pretraining?"""
    sizes = scale.task, scale.recipe_for(scale.data), scale.learning_rates
    tickets = sanity_check(*sizes, scale.panels, scale.seeds, ("LT-IMP",))
    return [*stability(*sizes, scale.seeds), *tickets]


def pairs(runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """The pairs of siblings that these runs belong to, each once and whole; other runs belong to none."""
    found: dict[tuple[Run, Run], None] = {}  # in order
    for run in runs:
        dense = run.init.to if isinstance(run.init, Rewind) else None
        if dense is not None and dense.mask is None:
            both = siblings(dense, run.init.epoch)
            if run in both:
                found[both] = None
    return list(found)
