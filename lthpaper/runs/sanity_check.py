"""What the sanity check of one network is: a task under a recipe, over learning rates, rounds and seeds."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import nn

from lthpaper import networks
from lthpaper.data import card
from lthpaper.errors import require
from lthpaper.paper import PRUNED_PER_ROUND, Thresholds
from lthpaper.paper import thresholds as of_paper
from lthpaper.runs import controls as runs_of
from lthpaper.runs.inits.fresh import check_drawn
from lthpaper.runs.masks import check_patterns
from lthpaper.runs.recipe import CURVE_POINTS, Recipe
from lthpaper.runs.rules import lt
from lthpaper.runs.run import Run
from lthpaper.runs.settings import (
    OF_A_DENSE_RUN,
    OF_A_SUBNETWORK,
    OfARule,
    Trial,
    check_once,
    check_rounds,
    lt_omp,
    names,
    nonzeros,
    pretraining,
    sanity_check,
)
from lthpaper.runs.task import Task

MAGNITUDE = ("imp", "omp")  # the paper's pruning rules


@dataclass(frozen=True)
class SanityCheck:
    """What is checked: a task under a recipe, over learning rates, IMP rounds and seeds.

    rounds: k for sparsities 1 − (1 − rate)^k. controls: as `check` takes them. pruning: names and paths of
    rules. Use `of` to give a factory or a name.
    """

    task: Task
    recipe: Recipe
    learning_rates: tuple[float, ...] = (0.005, 0.01, 0.05, 0.1)
    rounds: tuple[int, ...] = (4, 8, 11)
    seeds: int = 3
    rate: float = PRUNED_PER_ROUND
    controls: tuple[str, ...] = ()
    pruning: tuple[str, ...] = MAGNITUDE

    def __post_init__(self):
        require(
            bool(self.learning_rates) and bool(self.rounds), "Give at least one learning rate and one round."
        )
        require(bool(self.pruning), "Give at least one pruning rule, such as 'imp'.")
        check_once(self, "learning_rates", "rounds", "pruning")
        check_rounds(self.rounds)
        require(
            type(self.seeds) is int and self.seeds >= 1,
            f"seeds is {self.seeds!r}; it must be a whole number from 1.",
        )
        for lr in self.learning_rates:
            self.recipe.with_(lr=lr)
        runs_of.named(self.controls, self.masks)

    @classmethod
    def of(
        cls,
        network: str | Callable[..., nn.Module],
        data: str,
        recipe: Recipe,
        learning_rates: Sequence[float] = learning_rates,
        rounds: Sequence[int] = rounds,
        seeds: int = seeds,
        prunable: str | Sequence[str] = (),
        train_images: int = 0,
        validation_images: int = 0,
    ) -> "SanityCheck":
        """network: a name, a dotted path `package.module:function`, or a function that returns an nn.Module.

        prunable: one or more patterns of the weights to prune (empty: all convolutions and linear layers but
        the first and the last). train_images: 0 for all; validation_images: held out of them. Raises
        InputError for whatever cannot be built, found or pruned.
        """
        name = network if isinstance(network, str) else networks.local(network)
        task = Task(
            name,
            data,
            prunable=(prunable,) if isinstance(prunable, str) else tuple(prunable),
            train_images=train_images,
            validation_images=validation_images,
        )
        check_patterns(networks.skeleton(**task.shape), task.prunable)
        _ = task.prunable_weights  # refuses a network with nothing to prune
        check_drawn(task)
        return cls(task, recipe, tuple(learning_rates), tuple(rounds), seeds)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The one task, as a Scale has several: Appendix F's plot asks for them."""
        return (self.task,)

    @property
    def name(self) -> str:
        """The network's, as a Scale has a name."""
        return self.task.network

    @property
    def curve_points(self) -> int:
        """At most this many tests during one training."""
        return CURVE_POINTS

    @cached_property
    def masks(self) -> OfARule:
        """The label of each pruning rule -> how it makes LT. Raises InputError for a rule that cannot."""
        dense = pretraining(self.task, self.recipe.with_(lr=self.learning_rates[0]))
        made: dict[str, Callable[[Run, int, float], Run]] = {}
        for rule in self.pruning:
            labels = {lt(rule, dense, k, self.rate).mask.label for k in self.rounds}
            require(
                len(labels) == 1 and not labels & set(made),
                f"Pruning rule {rule!r} is labelled {' and '.join(sorted(labels))}; settings are named after "
                "the label, so it must be one, and another one than that of every other rule.",
            )
            made[labels.pop()] = partial(lt, rule)
        return made

    @property
    def settings(self) -> tuple[str, ...]:
        """All settings, without SDT where the factory has no `width` to reduce."""
        takes_width = "width" in inspect.signature(networks.factory(self.task.network)).parameters
        every = names(OF_A_SUBNETWORK, OF_A_DENSE_RUN, self.masks)
        return every if takes_width else every[:-1]

    @cached_property
    def trials(self) -> list[Trial]:
        """Every run of the check."""
        args = (self.task, self.recipe, self.learning_rates, self.rounds, self.seeds)
        beside = runs_of.named(self.controls, self.masks)
        return [
            *sanity_check(*args, self.settings, self.rate, masks=self.masks),
            *runs_of.controls(*args, beside, self.rate, self.masks),
        ]

    @property
    def parameters(self) -> dict[str, tuple[tuple[int, ...], bool]]:
        """The name of each parameter of the network -> its shape, and whether it is prunable."""
        network = networks.skeleton(**self.task.shape)
        chosen = self.task.prunable_weights
        return {name: (tuple(p.shape), name in chosen) for name, p in network.named_parameters()}

    def small_dense(self) -> Iterator[tuple[float, Task, int]]:
        """(sparsity, SDT's task, the subnetwork's number of non-zeros) of every sparsity."""
        dense = next(trial.run for trial in self.trials if trial.setting == "pretraining")
        small = {trial.sparsity: trial.run.task for trial in self.trials if trial.setting == "SDT"}
        for s, task in small.items():
            yield s, task, nonzeros(lt_omp(dense, s))

    def thresholds(self) -> Thresholds:
        """The paper's for its data sets, the card's `similar` for others."""
        known = of_paper(self.task.data)
        return replace(known, similar=card(self.task.data).similar) if known.ours else known
