"""The paper's settings (§2.1) as constructors of runs, and trials: a run and its place in a figure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lthpaper import networks
from lthpaper.errors import InputError, require, require_whole
from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs.pruning.imp import Imp
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.pruning.random import Random
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind, Run
from lthpaper.runs.task import Task
from lthpaper.runs.topology import Topology


def pretraining(task: Task, recipe: Recipe, seed: int = 0) -> Run:
    """The dense network from θ0."""
    require(isinstance(task, Task), f"The task is {task!r}; give a Task, such as Task('resnet8', 'digits').")
    require(isinstance(recipe, Recipe), f"The recipe is {recipe!r}; give a Recipe, such as Recipe(lr=0.1).")
    return Run(task, recipe, Fresh(seed), seed=seed)


def lt_imp(dense: Run, rounds: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """LT-IMP after `rounds` rounds, each trained from the same θ0 with the dense run's recipe.

    rounds=0 is the dense run itself.
    """
    _check_runs(dense)
    require_whole("The number of IMP rounds", rounds, 0)
    require(rounds <= 1000, f"The number of IMP rounds is {rounds:,}; it must be at most 1,000.")
    run = dense
    for _ in range(rounds):
        run = dense.with_(mask=Imp(after=run, rate=rate))
    return run


def lt_omp(dense: Run, sparsity: float) -> Run:
    """LT-OMP: one-shot pruning of the dense run's θT, trained from θ0."""
    _check_runs(dense)
    return dense.with_(mask=Omp(after=dense, sparsity=sparsity))


def random_reinit(run: Run) -> Run:
    """RR-IMP or RR-OMP: the same mask on θ0′, which is drawn independently of θ0."""
    _check_runs(run)
    if not isinstance(run.init, Fresh):
        raise InputError(f"{run} starts from rewound weights; only θ0 can be drawn anew.")
    return run.with_(init=Fresh(run.init.seed, draw=run.init.draw + 1))


def small_dense(subnetwork: Run) -> Run:
    """SDT: same depth, the width whose parameter count is nearest to the subnetwork's non-zeros."""
    _check_runs(subnetwork)
    require(
        isinstance(subnetwork.init, Fresh),
        f"{subnetwork} starts from rewound weights; a small dense network has another width and cannot.",
    )
    task = subnetwork.task
    shape = task.shape
    del shape["width"]
    width = networks.small_dense_width(parameters=nonzeros(subnetwork), **shape)
    return subnetwork.with_(task=task.with_(width=width), mask=None)


def rewound(subnetwork: Run, dense: Run, epoch: int) -> Run:
    """WR, rewound at the end (Appendix D): θt ⊙ m of the dense run, trained for the rest of the recipe.

    The mask is the subnetwork's, whose rounds were not rewound: `rewound_rounds` rewinds every round.
    """
    _check_runs(subnetwork, dense)
    return subnetwork.with_(init=Rewind(to=dense, epoch=epoch))


def rewound_rounds(dense: Run, rounds: int, epoch: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """IMP rewound in every round (Frankle 2020): each round, the last too, trains from the dense run's θt.

    This is the setting WR-IMPrewound. `rewound(lt_imp(dense, rounds), dense, epoch)` is WR-IMP: its rounds
    train from θ0, and it is rewound at the end alone. After one round the two are the same run.
    """
    _check_runs(dense)
    check_rounds((rounds,))
    run = dense
    for _ in range(rounds):
        run = dense.with_(mask=Imp(after=run, rate=rate), init=Rewind(to=dense, epoch=epoch))
    return run


def fine_tuned(subnetwork: Run, dense: Run) -> Run:
    """Learning-rate rewinding: θT ⊙ m, trained with the whole recipe again."""
    _check_runs(subnetwork, dense)
    return subnetwork.with_(init=Rewind(to=dense, epoch=dense.recipe.epochs, restart=True))


def dynamic_sparse(
    dense: Run,
    sparsity: float,
    rule: str = "rigl",
    every: int = 100,
    drop: float = 0.3,
    until: float = 0.75,
    layers: str = "erk",
) -> Run:
    """Dynamic sparse training from the dense run's θ0, with its recipe: a rival to the ticket that costs one
    sparse training. The mask is random at first; rule, every, drop, until: of a Topology."""
    _check_runs(dense)
    mask = Random(sparsity, layers, dense.seed)
    return dense.with_(mask=mask, topology=Topology(rule, every, drop, until))


def nonzeros(run: Run) -> int:
    """Parameters that are not pruned, as the mask's rule states it (before any training)."""
    _check_runs(run)
    if run.mask is None:
        return run.task.parameters
    return run.task.parameters - round(run.mask.sparsity * sum(run.task.prunable_weights.values()))


def _check_runs(*given: object) -> None:
    """Raises InputError unless each is a Run."""
    for run in given:
        require(isinstance(run, Run), f"{run!r} is not a Run; give one, such as pretraining(task, recipe).")


def check_rounds(rounds: Iterable[int]) -> None:
    """Raises InputError unless each is a number of IMP rounds, from 1 to 30."""
    require(
        all(type(k) is int and 1 <= k <= 30 for k in rounds),
        f"rounds is {rounds}; each must be a whole number of IMP rounds from 1 to 30.",
    )


def check_once(of: object, *fields: str) -> None:
    """Raises InputError if a field holds a value twice, since its runs would then count twice in a mean."""
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


OfASubnetwork = Mapping[str, Callable[[Run], Run]]  # a setting's name without its mask -> of the LT run
OfADenseRun = Mapping[str, Callable[[Run, float], Run]]  # a setting's name -> of the dense run and a sparsity
OfARule = Mapping[str, Callable[[Run, int, float], Run]]  # a mask's label -> LT of dense run, rounds, rate
MASKS: OfARule = {"IMP": lt_imp, "OMP": lambda dense, k, rate: lt_omp(dense, imp_sparsity(k, rate))}
OF_A_SUBNETWORK: OfASubnetwork = {"LT": lambda lt: lt, "RR": random_reinit}
OF_A_DENSE_RUN: OfADenseRun = {"SDT": lambda dense, s: small_dense(lt_omp(dense, s))}


def names(
    of_a_subnetwork: OfASubnetwork, of_a_dense_run: OfADenseRun, masks: Iterable[str] = MASKS
) -> tuple[str, ...]:
    """The settings that are made of these."""
    pruned = (f"{name}-{mask}" for mask in masks for name in of_a_subnetwork)
    return ("pretraining", *pruned, *of_a_dense_run)


SETTINGS = names(OF_A_SUBNETWORK, OF_A_DENSE_RUN)  # of the sanity check, §2.1


def sanity_check(
    task: Task,
    recipe: Recipe,
    learning_rates: Sequence[float],
    rounds: Sequence[int],
    seeds: int,
    settings: Iterable[str] = SETTINGS,
    rate: float = PRUNED_PER_ROUND,
    of_a_subnetwork: OfASubnetwork = OF_A_SUBNETWORK,
    of_a_dense_run: OfADenseRun = OF_A_DENSE_RUN,
    masks: OfARule = MASKS,
) -> Iterator[Trial]:
    """Every setting at every learning rate, sparsity (by its number of IMP rounds) and seed.

    of_a_subnetwork, of_a_dense_run, masks: how settings are made, the paper's by default. Raises InputError
    for an unknown setting.
    """
    wanted, known = set(settings), names(of_a_subnetwork, of_a_dense_run, masks)
    unknown = ", ".join(sorted(map(str, wanted - set(known))))
    require(not unknown, f"Unknown setting {unknown}. Known: {', '.join(known)}.")
    for name, values in (("learning_rates", learning_rates), ("rounds", rounds)):
        require(isinstance(values, Iterable), f"{name} is {values!r}; it must be several: [{values!r}].")
    require_whole("seeds", seeds, 0)
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            if "pretraining" in wanted:
                yield Trial("pretraining", 0.0, dense)
            for k in rounds:
                s = imp_sparsity(k, rate)
                for mask, subnetwork in masks.items():
                    lt = subnetwork(dense, k, rate)
                    for name, make in of_a_subnetwork.items():
                        if f"{name}-{mask}" in wanted:
                            yield Trial(f"{name}-{mask}", s, make(lt))
                yield from (Trial(n, s, make(dense, s)) for n, make in of_a_dense_run.items() if n in wanted)
