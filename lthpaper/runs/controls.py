"""Controls: runs that differ from a subnetwork in one property, and so say what a ticket is made of.

A setting's name is START-MASK. Beside the paper's LT (θ0) and RR (θ0′), the starts are

    LT@RRnorms   θ0 at the L2 norms of θ0′ ⊙ m, layer by layer        is LT more than its norms?
    RR@LTnorms   θ0′ at the norms of θ0 ⊙ m                           do norms explain RR's deficit?
    LT@RRsigns   |θ0| with the signs of θ0′                           what is left of LT without its signs?
    RR@LTsigns   |θ0′| with the signs of θ0                           what do θ0's signs alone do (Zhou 2019)?

and beside IMP and OMP, the masks are

    shuffled-IMP, shuffled-OMP   as many weights of every layer, at random places (Su 2020, Frankle 2021)
    permuted-IMP, permuted-OMP   the mask carried to θ0′ by the permutation of units that aligns the dense
                                 networks trained from θ0 and from θ0′ (Adnan 2025); so always RR
    random-global, -uniform, -erk   random masks that need no pretraining (Liu 2022); always from a draw of θ0

A random mask knows nothing of any weights, so LT and RR mean the same under it, and only one is trained.
Two more are trained where they are asked for by name: SET-random-erk and RigL-random-erk. Their masks begin
as random-erk's and change in training, at the FLOPs of one sparse training.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

from lthpaper.errors import InputError, require, suggestion
from lthpaper.networks import units
from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs import settings as paper
from lthpaper.runs.inits.norms import NormMatched
from lthpaper.runs.inits.signs import Signs
from lthpaper.runs.pruning.permuted import Permuted
from lthpaper.runs.pruning.random import LAYERS, Random
from lthpaper.runs.pruning.shuffled import Shuffled
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run, pretrained
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import (
    MASKS,
    OfADenseRun,
    OfARule,
    OfASubnetwork,
    Trial,
    dynamic_sparse,
    random_reinit,
)
from lthpaper.runs.task import Task
from lthpaper.runs.topology import LABELS


def at_norms_of(run: Run, other: Run) -> Run:
    """The run from its own start, at the norms that the other's start has under the mask, layer by layer."""
    return run.with_(init=NormMatched(of=run.init, norms=other.init))


def with_signs_of(run: Run, other: Run) -> Run:
    """The run from the magnitudes of its own start with the signs of the other's."""
    return run.with_(init=Signs(of=run.init, signs=other.init))


def shuffled(run: Run, draw: int = 0) -> Run:
    """The run with its mask shuffled within every layer; draw: another shuffle of the same seed."""
    return run.with_(mask=Shuffled(of=run.mask, seed=run.seed, draw=draw))


def permuted(run: Run) -> Run:
    """RR under the mask carried to θ0′: its units permuted as the dense network that it comes from has to be
    to be most like the dense network trained from θ0′."""
    dense = run
    while dense.mask is not None:
        before = pretrained(dense)
        if before is None:
            raise InputError(f"The mask of {run} comes from no trained network to be aligned.")
        dense = before
    return random_reinit(run).with_(mask=Permuted(of=run.mask, dense=dense, onto=random_reinit(dense)))


def random_mask(dense: Run, sparsity: float, layers: str = "erk") -> Run:
    """The dense run's start under a random mask that no training was needed for."""
    return dense.with_(mask=Random(sparsity, layers, dense.seed))


OF_A_SUBNETWORK: OfASubnetwork = {
    **paper.OF_A_SUBNETWORK,
    "LT@RRnorms": lambda lt: at_norms_of(lt, random_reinit(lt)),
    "RR@LTnorms": lambda lt: at_norms_of(random_reinit(lt), lt),
    "LT@RRsigns": lambda lt: with_signs_of(lt, random_reinit(lt)),
    "RR@LTsigns": lambda lt: with_signs_of(random_reinit(lt), lt),
    "LT-shuffled": shuffled,
    "RR-permuted": permuted,
}
OF_A_DENSE_RUN: OfADenseRun = {
    **paper.OF_A_DENSE_RUN,
    **{f"random-{way}": functools.partial(random_mask, layers=way) for way in LAYERS},
}
DYNAMIC: OfADenseRun = {
    f"{label}-random-erk": functools.partial(dynamic_sparse, rule=rule) for rule, label in LABELS.items()
}
SETTINGS = paper.names(OF_A_SUBNETWORK, OF_A_DENSE_RUN)
BESIDE = tuple(  # what the paper's sanity check lacks
    name
    for name in (*OF_A_SUBNETWORK, *OF_A_DENSE_RUN, *DYNAMIC)
    if name not in (*paper.OF_A_SUBNETWORK, *paper.OF_A_DENSE_RUN)
)
PERMUTED = tuple(f"RR-permuted-{mask}" for mask in MASKS)


def possible(task: Task) -> tuple[str, ...]:
    """The settings that a network can have: masks are carried only where its units can be followed."""
    try:
        units.of_task(task.shape)
    except InputError:
        return tuple(name for name in SETTINGS if name not in PERMUTED)
    return SETTINGS


def controls(
    task: Task,
    recipe: Recipe,
    learning_rates: Sequence[float],
    rounds: Sequence[int],
    seeds: int,
    settings: Iterable[str] | None = None,
    rate: float = PRUNED_PER_ROUND,
    masks: OfARule = MASKS,
) -> Iterator[Trial]:
    """Every control at every learning rate, sparsity (by its number of IMP rounds) and seed.

    settings: None for all that are `possible`. masks: of which they are made. Raises InputError for an
    unknown setting, and for a carried mask of a network whose units cannot be followed.
    """
    wanted = set(possible(task) if settings is None else settings)
    if wanted & set(settings_of("RR-permuted", masks)):
        units.of_task(task.shape)  # refuses now what no training could make later
    how = (wanted, rate, OF_A_SUBNETWORK, {**OF_A_DENSE_RUN, **DYNAMIC}, masks)
    yield from paper.sanity_check(task, recipe, learning_rates, rounds, seeds, *how)


def named(beside: Iterable[str], masks: Iterable[str] = MASKS) -> tuple[str, ...]:
    """Settings by names without a mask: LT-shuffled is LT-shuffled-IMP and LT-shuffled-OMP.

    beside: what is to be trained beside LT and RR under these masks. Raises InputError for an unknown name.
    """
    found: list[str] = []
    for name in beside:
        hint = suggestion(name, BESIDE)
        require(name in BESIDE, f"Unknown control {name!r}.{hint} Known: {', '.join(BESIDE)}.")
        found += settings_of(name, masks)
    return tuple(found)


def settings_of(name: str, masks: Iterable[str]) -> list[str]:
    """The settings of a control: one per mask where it is made of one."""
    return [f"{name}-{mask}" for mask in masks] if name in OF_A_SUBNETWORK else [name]


def of_scale(scale: Scale) -> list[Trial]:
    """All controls of the scale's network over its grid, at the middle one of its panels' sparsities."""
    rounds = (scale.panels[len(scale.panels) // 2],)
    grid = scale.grid_for(scale.data)
    return list(controls(scale.task, scale.recipe_for(scale.data), grid, rounds, scale.seeds))
