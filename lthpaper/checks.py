"""The sanity check for a network of your own, from a factory to the verdict (`lth.check`)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from lthpaper import locations, notes
from lthpaper.data import Images, Source
from lthpaper.data.files import Files
from lthpaper.data.own import local as local_data
from lthpaper.errors import InputError, require
from lthpaper.figures import FigureSpec, appendix_f
from lthpaper.runs.pruning.own import local as local_rule
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.sanity_check import MAGNITUDE, SanityCheck
from lthpaper.runs.scales import Scale
from lthpaper.runs.scales import scale as scale_named
from lthpaper.runs.settings import Trial
from lthpaper.studies import Study, changes
from lthpaper.training.forms import why_not_stacked


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
    require(
        learning_rates is None or fields.get("grid") is None,
        "learning_rates and grid are the same rates in a check: give one of them.",
    )
    chosen = scale_named(scale, **fields | ({} if learning_rates is None else {"grid": learning_rates}))
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
        rows = [(name, shape, prod(shape), chosen) for name, (shape, chosen) in self.scale.parameters.items()]
        return pd.DataFrame(rows, columns=["parameter", "shape", "weights", "prunable"])

    @property
    def notes(self) -> list[str]:
        """What to know before training: settings left out, networks trained one by one, too few images."""
        return notes.before_training(self.scale, self.data_root)


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
