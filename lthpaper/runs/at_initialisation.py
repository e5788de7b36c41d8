"""Masks without a whole pretraining, beside those with one: settings and trials.

    LT-magnitude, LT-SNIP, LT-GraSP, LT-SynFlow   masks of θ0 itself, trained from θ0
    LT-early                                      the largest weights of θt, a tenth of the epochs on; from θ0
    LT-shuffled-...                               each with its places shuffled within the layers: where that
                                                  costs nothing, the mask said no more than how much of each
                                                  layer to keep (Su 2020, Frankle 2021)
    LT@RRnorms-...                                those of θ0 itself, at the norms of θ0′ under the mask: a
                                                  shuffled mask leaves layers such ordinary norms, so what is
                                                  left between the two is not the norms'
    random-erk                                    a random mask

beside pretraining, LT-IMP and LT-OMP.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs.controls import at_norms_of, random_mask, shuffled
from lthpaper.runs.pruning.magnitude import Magnitude
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.rules import lt
from lthpaper.runs.run import Rewind, Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import (
    OfARule,
    Trial,
    imp_sparsity,
    lt_imp,
    lt_omp,
    pretraining,
    random_reinit,
)
from lthpaper.runs.task import Task

EARLY = 0.1  # of the epochs


def early(dense: Run, rounds: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """The dense run's θ0 under the mask of its largest weights after a tenth of the epochs."""
    epoch = max(1, round(EARLY * dense.recipe.epochs))
    return dense.with_(mask=Magnitude(Rewind(to=dense, epoch=epoch), imp_sparsity(rounds, rate)))


AT_THETA0 = ("magnitude", "SNIP", "GraSP", "SynFlow")  # rules that see no training
MADE: OfARule = {label: partial(lt, label.lower()) for label in AT_THETA0} | {"early": early}


def at_initialisation(
    task: Task, recipe: Recipe, learning_rates: Sequence[float], rounds: Sequence[int], seeds: int
) -> Iterator[Trial]:
    """Every setting at every learning rate, sparsity (by its number of IMP rounds) and seed."""
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            yield Trial("pretraining", 0.0, dense)
            for k in rounds:
                s = imp_sparsity(k)
                yield Trial("LT-IMP", s, lt_imp(dense, k))
                yield Trial("LT-OMP", s, lt_omp(dense, s))
                yield Trial("random-erk", s, random_mask(dense, s, "erk"))
                for name, make in MADE.items():
                    run = make(dense, k, PRUNED_PER_ROUND)
                    yield Trial(f"LT-{name}", s, run)
                    yield Trial(f"LT-shuffled-{name}", s, shuffled(run))
                    if name in AT_THETA0:
                        yield Trial(f"LT@RRnorms-{name}", s, at_norms_of(run, random_reinit(run)))


def of_scale(scale: Scale) -> list[Trial]:
    """All rules at the smallest and the largest of Figure 1's learning rates, at its sparsities."""
    rates = sorted({min(scale.learning_rates), max(scale.learning_rates)})
    recipe = scale.recipe_for(scale.data)
    return list(at_initialisation(scale.task, recipe, rates, scale.panels, scale.seeds))
