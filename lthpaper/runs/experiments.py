"""Which runs each figure and table of the paper shows: not what is measured on them, nor how it is drawn.

    experiments.trials("fig3", scale("laptop"))

A figure and the claims that read the same runs take them from here, so they are trained once.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from lthpaper import paper
from lthpaper.paper import FIGURE6, SPARSITIES
from lthpaper.runs import controls
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import (
    Trial,
    fine_tuned,
    imp_sparsity,
    lt_imp,
    lt_omp,
    pretraining,
    random_reinit,
    rewound,
    sanity_check,
)
from lthpaper.runs.task import Task

PRELIMINARY = ("pretraining", "LT-IMP", "RR-IMP")

CONTOUR_ROUNDS = SPARSITIES[0.945]

CONTOUR_RATES = (0.01, 0.1)

PANELS = {("LT-IMP", 0.01): "a", ("LT-IMP", 0.1): "b", ("LT-OMP", 0.01): "c", ("LT-OMP", 0.1): "d"}

SNAPSHOTS = 20  # steps along a trajectory

EARLY = (1 / 40, 1 / 20, 1 / 10)  # of training: epochs 4, 8 and 16 of 160


def preliminary(scale: Scale, rounds: Iterable[int] | None = None) -> list[Trial]:
    """Figure 1: both recipes at its learning rates. rounds: the scale's three lowest unless given."""
    return [
        trial
        for recipe in (scale.recipe, scale.insufficient_recipe)
        for trial in sanity_check(
            scale.task, recipe, scale.learning_rates, tuple(rounds or scale.panels), scale.seeds, PRELIMINARY
        )
    ]


def all_rounds(scale: Scale) -> list[Trial]:
    """Appendix A: every IMP round up to that of Figure 1's last panel."""
    return preliminary(scale, range(1, max(scale.panels) + 1))


def sanity_checks(scale: Scale) -> list[Trial]:
    """Figure 3: every setting over the whole grid, one sparsity per experiment."""
    return [t for task in scale.tasks for t in checked(task, scale, (shown_rounds(task, scale),))]


def all_sparsities(scale: Scale) -> list[Trial]:
    """Appendix F and Table 3: every setting over the whole grid at all sparsities, Figure 3's too."""
    return [
        trial
        for task in scale.tasks
        for trial in checked(task, scale, scale.rounds_for(task.network, task.data))
    ]


def checked(task: Task, scale: Scale, rounds: Sequence[int]) -> Iterator[Trial]:
    """Every setting of an experiment, with its data's recipe and grid, and the scale's controls."""
    sizes = (task, scale.recipe_for(task.data), scale.grid_for(task.data), rounds, scale.seeds)
    yield from sanity_check(*sizes)
    if scale.controls:
        yield from controls.controls(*sizes, controls.named(scale.controls))


def shown_rounds(task: Task, scale: Scale) -> int:
    """IMP rounds of the panel: the paper's (paper.EXPERIMENTS) where the scale has them, else its last."""
    stated, have = paper.shown_rounds(task.network, task.data), scale.rounds_for(task.network, task.data)
    return stated if stated in have else have[-1]


def shown_sparsities(scale: Scale) -> dict[tuple[str, str], float]:
    """(network, data) -> the sparsity of its panel."""
    return {(t.network, t.data): imp_sparsity(shown_rounds(t, scale)) for t in scale.tasks}


def contours(scale: Scale, residual: bool) -> list[Trial]:
    """Figures 4 and 5: the panels' subnetworks for every seed; panels show seed 0's, numbers are of all."""
    found, s = [], imp_sparsity(CONTOUR_ROUNDS)
    for seed in range(scale.seeds):
        for lr in CONTOUR_RATES:
            dense = pretraining(contour_task(scale, residual), scale.recipe.with_(lr=lr), seed)
            found.append(Trial("LT-IMP", s, lt_imp(dense, CONTOUR_ROUNDS)))
            found.append(Trial("LT-OMP", s, lt_omp(dense, s)))
    return sorted(found, key=lambda t: (t.run.seed, PANELS[t.setting, t.run.recipe.lr]))


def contour_task(scale: Scale, residual: bool) -> Task:
    """The network of Figures 4 and 5, ResNet-32 in the paper, with or without residual connections."""
    name = scale.contour_network
    return scale.task.with_(network=name if residual else f"{name}-noskip")


def contour_snapshots(scale: Scale, residual: bool) -> dict[Run, frozenset[int]]:
    """The snapshots that the trajectories need; the end is kept anyway."""
    return {t.run: frozenset(snapshots(t.run)[:-1]) for t in contours(scale, residual)}


def snapshots(run: Run) -> list[int]:
    """Epochs along a trajectory: the start, every twentieth of the training, the end."""
    first, last = run.first_epoch, run.recipe.epochs
    step = max(1, round((last - first) / SNAPSHOTS))
    return [*range(first, last, step), last]


def correlations(scale: Scale) -> list[Trial]:
    """Figure 6: pretraining and the IMP mask at every learning rate: a residual network and a VGG."""
    tasks = [scale.task.with_(network=name) for name in scale.correlation_networks]
    dense = [
        pretraining(task, scale.recipe.with_(lr=lr), seed)
        for task in tasks
        for lr in scale.grid_for(scale.data)
        for seed in range(scale.seeds)
    ]
    return [Trial("LT-IMP", imp_sparsity(FIGURE6.rounds), lt_imp(run, FIGURE6.rounds)) for run in dense]


def correlated(scale: Scale) -> dict[Run, frozenset[int]]:
    """What Figure 6 reads: θT of the pretrained networks, and the masks."""
    runs = (run for trial in correlations(scale) for run in (trial.run, trial.run.with_(mask=None)))
    return {run: frozenset({run.recipe.epochs}) for run in runs}


def mixed_rates(scale: Scale) -> list[Trial]:
    """Table 4: pretraining, LT-IMP and RR-IMP."""
    k = max(scale.rounds)
    found = []
    for lr, seed in itertools.product(pretraining_rates(scale), range(scale.seeds)):
        dense = pretraining(scale.task, scale.recipe.with_(lr=lr), seed)
        subnetwork = lt_imp(dense, k)
        found.append(Trial("pretraining", 0.0, dense))
        for other in subnetwork_rates(scale):
            recipe = scale.recipe.with_(lr=other)
            for setting, run in (("LT-IMP", subnetwork), ("RR-IMP", random_reinit(subnetwork))):
                found.append(Trial(setting, imp_sparsity(k), run.with_(recipe=recipe)))
    return found


def pretraining_rates(scale: Scale) -> tuple[float, ...]:
    """Two, or fewer if Figure 1 has fewer."""
    return tuple(sorted(scale.learning_rates)[-2:])


def subnetwork_rates(scale: Scale) -> tuple[float, ...]:
    """The grid, and the pretraining rates themselves."""
    return tuple(sorted({*scale.grid_for(scale.data), *pretraining_rates(scale)}))


def rewinding(scale: Scale) -> list[Trial]:
    """Appendix D: every setting of the sanity check, for the verdicts; and WR and FT."""
    k = max(scale.rounds)
    rates, seeds = scale.learning_rates, scale.seeds
    return [*sanity_check(scale.task, scale.recipe, rates, (k,), seeds), *_rewound(scale, k)]


def rewinding_epochs(scale: Scale) -> tuple[int, ...]:
    """A few early t, at least 1 and before the end: (4, 8, 16) of 160, (2, 3, 6) of 60, (1,) of 2."""
    epochs = scale.recipe.epochs
    rounded = {max(1, int(share * epochs + 0.5)) for share in EARLY}
    return tuple(sorted(t for t in rounded if t < epochs))


def _rewound(scale: Scale, k: int) -> Iterator[Trial]:
    s = imp_sparsity(k)
    for lr, seed in itertools.product(scale.learning_rates, range(scale.seeds)):
        dense = pretraining(scale.task, scale.recipe.with_(lr=lr), seed)
        for label, subnetwork in (("IMP", lt_imp(dense, k)), ("OMP", lt_omp(dense, s))):
            for epoch in rewinding_epochs(scale):
                yield Trial(f"WR-{label}", s, rewound(subnetwork, dense, epoch))
            yield Trial(f"FT-{label}", s, fine_tuned(subnetwork, dense))


EXPERIMENTS: dict[str, Callable[[Scale], list[Trial]]] = {
    "fig1": preliminary,
    "appendix-a": all_rounds,
    "fig3": sanity_checks,
    "appendix-f": all_sparsities,
    "fig4": partial(contours, residual=True),
    "fig5": partial(contours, residual=False),
    "fig6": correlations,
    "table4": mixed_rates,
    "appendix-d": rewinding,
}


def trials(figure: str, scale: Scale) -> list[Trial]:
    """The runs of one of the paper's figures or tables, by its name."""
    return EXPERIMENTS[figure](scale)
