"""The sanity check for a network of your own, from a factory to the verdict (`lth.check`)."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from lthpaper import locations, networks
from lthpaper.data import Images, Source, card, load
from lthpaper.data.files import Files
from lthpaper.data.own import local as local_data
from lthpaper.errors import InputError, require
from lthpaper.figures import FigureSpec, appendix_f
from lthpaper.paper import PRUNED_PER_ROUND, Thresholds
from lthpaper.paper import thresholds as of_paper
from lthpaper.runs import controls as runs_of
from lthpaper.runs.inits.fresh import check_drawn
from lthpaper.runs.masks import check_patterns
from lthpaper.runs.pruning.own import local as local_rule
from lthpaper.runs.recipe import CURVE_POINTS, Recipe
from lthpaper.runs.rules import lt
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.scales import scale as scale_named
from lthpaper.runs.settings import (
    OF_A_DENSE_RUN,
    OF_A_SUBNETWORK,
    OfARule,
    Trial,
    check_once,
    check_rounds,
    imp_sparsity,
    lt_omp,
    names,
    nonzeros,
    pretraining,
    sanity_check,
)
from lthpaper.runs.task import Task
from lthpaper.studies import Study, changes
from lthpaper.training.forms import gives_probabilities, unreached, why_not_stacked

MAGNITUDE = ("imp", "omp")  # the paper's pruning rules
FEW = 5  # with fewer training images a class, accuracies say little
FAR = 0.05  # by so much more of its parameters SDT is another network than the paper means
MANY = 50  # with so many training images a class, a random choice leaves no class out


def check(
    network: str | Callable[..., nn.Module],
    data: "str | Source | Images | Callable[..., Images | Files]" = "digits",
    scale: str | Scale = "laptop",
    *,
    recipe: Recipe | None = None,
    learning_rates: Sequence[float] | None = None,
    prunable: str | Sequence[str] | None = None,
    train_images: int | None = None,
    validation_images: int | None = None,
    controls: str | Sequence[str] | None = None,
    pruning: "str | type | Sequence[str | type] | None" = None,
    store: str | Path | None = None,
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    train: bool = True,
    **fields: Any,
) -> "Check":
    """The sanity check for a network of your own: what `lth.study` gives, and which weights are prunable.

        check = lth.check(make_my_network, data="digits", epochs=60, rounds=(4, 8), seeds=3)
        check.prunable  # which weights, before anything is trained
        check.train()
        check.verdicts  # conditions ① to ⑤, the ticket's kind, and how sure

    network: a name, a path `package.module:function`, or a function that returns an nn.Module; of
    num_classes, in_channels, width and size it is given those that it names. data: a name, a path, a
    data.Source, a function that returns data.Images, or such Images. scale: gives the recipe, the learning
    rates (its grid), rounds and seeds, unless they are given here; fields: any field of it.
    prunable: a pattern, or several, of the weights to prune. train_images: None for all. validation_images:
    held out of them; verdicts then choose learning rates on these, not on the test images. controls: trained
    beside the paper's settings, by their names in lthpaper.runs.controls without a mask: "LT-shuffled" asks
    ③m. pruning: the rules to judge (None: IMP and OMP), by name ("snip"), path `package.module:Class`, or as
    a class of your own (lthpaper.runs.rules says which fields it may have). data_root: a custom data set by
    path is looked for there until the next check of it.
    Raises InputError for whatever cannot be built, found or pruned.
    """
    require(
        not isinstance(network, nn.Module),
        f"The network is a {type(network).__name__}; give a function that builds one, such as the class: "
        "every run draws weights of its own.",
    )
    require(
        isinstance(network, str) or callable(network),
        f"The network is {network!r}; it must be a name, package.module:function, or a function that returns "
        "an nn.Module.",
    )
    _check_recipe(recipe, fields)
    if not isinstance(data, str):
        data = local_data(data, data_root)
    elif ":" in data:
        locations.look_for_custom_data(data, data_root)
    controls = [controls] if isinstance(controls, str) else controls
    pruning = MAGNITUDE if pruning is None else pruning
    several = pruning if isinstance(pruning, Sequence) and not isinstance(pruning, str) else [pruning]
    rules = tuple(map(_rule, several))
    chosen = scale_named(scale, grid=learning_rates, **fields)
    how = recipe or chosen.recipe_for(data)
    sizes = (chosen.grid, chosen.rounds, chosen.seeds, prunable or ())
    value = SanityCheck.of(network, data, how, *sizes, train_images or 0, validation_images or 0)
    value = replace(value, controls=tuple(controls or ()), pruning=rules)
    why_not_stacked(value.task)  # refuses a network that cannot take the images, before hundreds of runs do
    spec = FigureSpec("The sanity check of one network, one panel per sparsity", _trials, _plot)
    places: dict[str, Any] = {
        "store": store,
        "data_root": data_root,
        "device": device,
        "workers": workers,
        "train": train,
    }
    given: dict[str, Any] = {
        "network": network if isinstance(network, str) else "",
        "data": data if data != "digits" else "",
    }
    given |= {
        "prunable": prunable,
        "train_images": train_images,
        "validation_images": validation_images,
        "controls": controls,
        "pruning": rules if rules != MAGNITUDE else None,
    }
    own = changes(chosen) | {name: value for name, value in given.items() if value}
    folder = locations.figures_folder(chosen.name, out, own)
    return Check("own-network", spec, value, folder, **places, thresholds=value.thresholds())


class Check(Study):
    """A study of one network; `scale` is the SanityCheck."""

    @property
    def prunable(self) -> pd.DataFrame:
        """One row per parameter: its shape, number of weights, and whether it is prunable."""
        return self.scale.prunable()

    @property
    def notes(self) -> list[str]:
        """What to know before training: settings left out, networks trained one by one, too few images."""
        return [*self.scale.notes(), *_thin(self.scale.task, self.data_root)]


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

    def prunable(self) -> pd.DataFrame:
        """One row per parameter: its shape, number of weights, and whether it is prunable."""
        network = networks.skeleton(**self.task.shape)
        chosen = self.task.prunable_weights
        rows = [(n, tuple(p.shape), p.numel(), n in chosen) for n, p in network.named_parameters()]
        return pd.DataFrame(rows, columns=["parameter", "shape", "weights", "prunable"])

    def small_dense(self) -> Iterator[tuple[float, Task, int]]:
        """(sparsity, SDT's task, the subnetwork's number of non-zeros) of every sparsity."""
        dense = next(trial.run for trial in self.trials if trial.setting == "pretraining")
        small = {trial.sparsity: trial.run.task for trial in self.trials if trial.setting == "SDT"}
        for s, task in small.items():
            yield s, task, nonzeros(lt_omp(dense, s))

    def notes(self) -> list[str]:
        """What the user should know before training: settings left out, networks trained one by one."""
        said = []
        limit = self.thresholds().sparsity
        trivial = [f"{s:.3f}" for k in self.rounds if (s := imp_sparsity(k, self.rate)) <= limit]
        if trivial:
            said.append(
                f"s = {' and '.join(trivial)} is not above {limit:g}: ① fails there, whatever is trained."
            )
        if "SDT" not in self.settings:
            said.append(
                "The factory takes no `width`, so the small-dense network (SDT) cannot be built: condition ② "
                "stays open. Give the factory an argument `width` that scales its channels."
            )
        for s, small, wanted in self.small_dense():
            if abs(more := small.parameters / wanted - 1) > FAR:
                many, hard = ("more", "harder") if more > 0 else ("fewer", "easier")
                said.append(
                    f"SDT at s = {s:.3f} has {100 * abs(more):.0f} % {many} parameters than the subnetwork "
                    f"has non-zeros, since `width` moves in coarse steps: ② is {hard} to fulfil there than "
                    "the paper means."
                )
        if why := why_not_stacked(self.task):
            said.append(f"Networks are trained one by one, not as packs: {why}.")
        if gives_probabilities(self.task):
            said.append(
                "The outputs are probabilities: each is from 0 to 1, and they sum to 1. The training takes "
                "logits and applies softmax itself; leave the last Softmax out."
            )
        about = card(self.task.data)
        if ":" in self.task.data and about.flip and not about.streams:
            shift = f"{about.pad} pixel{'s' * (about.pad != 1)}"
            said.append(
                f"Training images are flipped, and shifted by up to {shift}, as the paper's are. "
                "If that changes what they show (digits, text), give a Source whose Card has flip=False "
                "and pad=0."
            )
        parameters = dict(networks.skeleton(**self.task.shape).named_parameters())
        if frozen := [name for name in self.task.prunable_weights if not parameters[name].requires_grad]:
            said.append(
                f"{', '.join(frozen[:3])}{', …' * (len(frozen) > 3)} will be pruned without ever having been "
                "trained, since requires_grad is False. To keep such weights, name the others by `prunable`."
            )
        if self.recipe.weight_decay and (names := unreached(self.task)):
            said.append(
                f"No gradient reaches {', '.join(names[:3])}{', …' * (len(names) > 3)}: weight decay shrinks "
                "them nevertheless, which it does not in torch's own optimizers. Leave them out of the "
                "network, or give them requires_grad_(False)."
            )
        how = self.recipe
        if how.schedule == "step" and how.milestones and how.milestones[0] >= how.epochs:
            said.append(
                f"The learning rate never falls: the recipe's first milestone is epoch {how.milestones[0]}, "
                f"and it ends after {how.epochs}. Give earlier ones, such as "
                f"milestones=({how.epochs // 2}, {3 * how.epochs // 4})."
            )
        return said

    def thresholds(self) -> Thresholds:
        """The paper's for its data sets, the card's `similar` for others."""
        known = of_paper(self.task.data)
        return replace(known, similar=card(self.task.data).similar) if known.ours else known


def _thin(task: Task, root: Path) -> list[str]:
    """A sentence for each way in which the images are too few to learn from or to judge by; none where they
    are missing, which the plan says."""
    classes = card(task.data).num_classes
    if ":" not in task.data and task.images >= MANY * classes:
        return []  # the choice of a published data set's images leaves no class out: they need not be read
    try:
        images = load(task.data, root, *task.division).images
    except InputError:
        return []
    said = []
    if task.images < FEW * classes:
        said.append(
            f"There are fewer training images ({task.images}) than {FEW} for each of the {classes} classes: "
            "accuracies will say little. Train on more."
        )
    if 0 < task.validation_images < FEW * classes:
        said.append(
            f"There are fewer validation images ({task.validation_images}) than {FEW} for each of the "
            f"{classes} classes: the learning rates that they choose will say little. Hold more out."
        )
    for part, labels in (("training", images.train_labels), ("test", images.test_labels)):
        counts = labels.bincount(minlength=classes).tolist()
        none = [name for name, n in zip(images.classes, counts, strict=True) if not n]
        if none:
            named = f"{', '.join(none[:3])}{', …' * (len(none) > 3)}"
            lacks = f"{len(none)} of {classes} classes have" if len(none) > 1 else "One class has"
            count = "count" if len(none) > 1 else "counts"
            what = "cannot be learned" if part == "training" else f"{count} in no accuracy"
            said.append(f"{lacks} no {part} image and {what}: {named}.")
    return said


def _check_recipe(recipe: object, fields: Mapping[str, Any]) -> None:
    """Raise InputError for what is no Recipe, and for fields of the scale that a recipe overrides."""
    require(
        recipe is None or isinstance(recipe, Recipe),
        f"recipe is {recipe!r}; give a Recipe, such as lth.Recipe(epochs=60, batch_size=50, "
        "milestones=(30, 45)), or only some values: epochs=60.",
    )
    own = {field.name for field in dataclasses.fields(Recipe)} if recipe else set()
    ignored = [name for name, value in fields.items() if name in own and value is not None]
    require(
        not ignored,
        f"{' and '.join(ignored)} would have no effect beside recipe: put it into the recipe, or leave the "
        "recipe out.",
    )


def _rule(given: object) -> str:
    """The name of a pruning rule, of a class of this process too."""
    if isinstance(given, type):
        return local_rule(given)
    if isinstance(given, str):
        return given
    raise InputError(
        f"The pruning rule is {given!r}; give a name, such as 'snip', package.module:Class, or the class."
    )


def _trials(check: Any) -> list[Trial]:
    """A FigureSpec's runs, of a SanityCheck in the place of a Scale."""
    return check.trials


def _plot(table: pd.DataFrame, check: Any) -> Figure:
    """Accuracy against learning rate, one panel per sparsity, tickets marked. check: a SanityCheck."""
    return appendix_f.plot(table, check, check.thresholds())
