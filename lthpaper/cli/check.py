"""`lthpaper check`: put your own network through the sanity check."""

from typing import Annotated, Any

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.command import RECIPE, THE_CHECK, check_option, folder_option, recipe_option
from lthpaper.cli.options import (
    Budget,
    DataFolder,
    Device,
    MaxSeeds,
    StoreFolder,
    TimeLimit,
    UntilDecided,
    Workers,
    check_deciding,
    decide,
    most,
    time_left,
)
from lthpaper.errors import require

console = terminal.console()


def _numbers(option: str, text: str, kind: type, example: str) -> tuple[Any, ...]:
    """ "4,8" -> (4, 8). Raises InputError, which names the option."""
    try:
        values = tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = ()
    what = "whole numbers" if kind is int else "numbers"
    require(
        bool(values) and len(set(values)) == len(values),
        f"{option} is {text!r}; it takes different {what} with commas, for example {example}.",
    )
    return values


def _folder(context: typer.Context) -> str:
    """runs/check/NETWORK, with every option that changes what is checked in the name, and its value."""
    from lthpaper import locations

    given = context.params
    changed = {
        option.name: given[option.name]
        for option in context.command.params
        if getattr(option, "rich_help_panel", "") in (THE_CHECK, RECIPE)
        and (given[option.name] or None) != (option.default or None)  # none of a list is [] or None
    }
    return f"runs/check/{locations.changed(given['network'], changed)}"


def check(
    context: typer.Context,
    network: Annotated[str, typer.Argument(help="A network's name, or package.module:function of your own.")],
    data: Annotated[str, check_option("--on", help="A data set's name, or package.module:name.")] = "digits",
    learning_rates: Annotated[
        str, check_option(help="Learning rates to try, separated by commas.")
    ] = "0.005,0.01,0.05,0.1",
    rounds: Annotated[str, check_option(help="IMP rounds k, for sparsities 1 - 0.8^k.")] = "4,8,11",
    seeds: Annotated[int, check_option(help="Number of seeds, without --until-decided.")] = 3,
    epochs: Annotated[int, recipe_option(help="Epochs of one training.")] = 60,
    batch_size: Annotated[int, recipe_option(help="Images in a step.")] = 50,
    optimizer: Annotated[str, recipe_option(help="sgd, nesterov or adamw.")] = "sgd",
    momentum: Annotated[float, recipe_option(help="Momentum of SGD; β1 of AdamW.")] = 0.9,
    weight_decay: Annotated[float, recipe_option(help="Weight decay of every weight.")] = 1e-4,
    decay_norms: Annotated[bool, recipe_option(help="Decay norms and biases too.")] = True,
    clip: Annotated[float, recipe_option(help="Largest norm of a gradient; 0: no clipping.")] = 0.0,
    schedule: Annotated[str, recipe_option(help="step (÷10 at 1/2 and 3/4) or cosine.")] = "step",
    warmup_epochs: Annotated[
        float, recipe_option(help="Epochs over which the learning rate rises from 0.")
    ] = 0.0,
    precision: Annotated[str, recipe_option(help="fp32, bf16, or fp64 (for checks).")] = "fp32",
    prunable: Annotated[
        list[str] | None, check_option(help="Pattern of weights to prune; may be repeated.")
    ] = None,
    train_images: Annotated[int, check_option(help="Use only this many training images; 0: all.")] = 0,
    validation_images: Annotated[
        int, check_option(help="Hold out this many training images, to choose learning rates on; 0: none.")
    ] = 0,
    controls: Annotated[
        list[str] | None,
        check_option(
            "--control",
            help="Control to train as well. LT-shuffled tests ③m: does LT beat random masks of equal layer "
            "counts? May be repeated.",
        ),
    ] = None,
    pruning: Annotated[
        str,
        check_option(
            help="Pruning rules to judge, with commas: imp, omp, snip, or package.module:Class of your own."
        ),
    ] = "imp,omp",
    until_decided: UntilDecided = False,
    max_seeds: MaxSeeds = None,
    budget: Budget = "",
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print what it will cost, and train nothing.")
    ] = False,
    store: StoreFolder = "",
    data_root: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    time_limit: TimeLimit = "",
    out: Annotated[
        str,
        folder_option(help="Folder of the figure. Default: runs/check/NETWORK plus the changed options."),
    ] = "",
) -> None:
    """Put a network of your own through the sanity check: does it have a winning ticket?"""
    from lthpaper import checks, locations
    from lthpaper.paper import CIFAR
    from lthpaper.runs.recipe import Recipe
    from lthpaper.sweep.costs import costs, missing_data
    from lthpaper.sweep.execute import execute

    for limit in (time_limit, budget):
        time_left(limit)  # refused before anything else
    source = context.get_parameter_source("seeds")
    check_deciding(until_decided, max_seeds, budget, source is not None and source.name != "DEFAULT")
    given = {"epochs": epochs, "batch_size": batch_size, "momentum": momentum, "precision": precision}
    given |= {"weight_decay": weight_decay, "schedule": schedule, "optimizer": optimizer}
    given |= {"clip": clip, "decay_norms": decay_norms, "warmup_epochs": warmup_epochs}
    recipe = Recipe(**CIFAR.arguments(epochs) | given)
    grid = _numbers("--learning-rates", learning_rates, float, "0.01,0.1")
    counts = _numbers("--rounds", rounds, int, "4,8")
    folder = locations.home() / (out or _folder(context))
    sizes: dict[str, Any] = {
        "learning_rates": grid,
        "rounds": counts,
        "seeds": seeds,
        "train_images": train_images,
        "validation_images": validation_images,
        "controls": controls or (),
        "pruning": [rule.strip() for rule in pruning.split(",") if rule.strip()],
    }
    places: dict[str, Any] = {
        "store": store,
        "data_root": data_root,
        "out": folder,
        "device": device,
        "workers": workers,
    }
    checked = checks.check(network, data, recipe=recipe, prunable=prunable, **sizes, **places)
    missing = missing_data(checked.plan, checked.data_root)
    require(plan_only or not missing, next(iter(missing), ""))
    table = Table("parameter", "shape", "weights", "prunable", box=None)
    for row in checked.prunable.itertuples():
        table.add_row(
            row.parameter, "×".join(map(str, row.shape)), f"{row.weights:,}", "yes" if row.prunable else ""
        )
    console.print(table)
    for note in checked.notes:
        console.print(f"note: {note}")
    for line in _small_dense(checked):
        console.print(line)
    if until_decided:
        shown = checked.expected_costs(*most(max_seeds))[""]
    else:  # the time with --plan alone: to measure speeds may take longer than a small check
        shown = costs(checked.plan, checked.device if plan_only else "", checked.workers)[""]
    for name, value in shown.items():
        console.print(f"{name}: {value}")
    for sentence in missing:
        console.print(f"data: {sentence}")
    if plan_only:
        return
    if until_decided:
        seeds = decide(checked, max_seeds, budget, time_limit, console.print, quiet=False)
        drawn = checked.with_seeds(seeds)
    else:
        drawn = checked
        where = (checked.store, checked.data_root, checked.device, checked.workers)
        execute(checked.runs, *where, time_limit=time_left(time_limit), signals=True)
        for verdict in checked.verdicts["verdict"]:
            console.print(str(verdict))
    drawn.draw()
    console.print(f"The figure is in {folder}")


def _small_dense(checked: Any) -> list[str]:
    """One line per sparsity: SDT's number of parameters beside the subnetwork's non-zeros."""
    return [
        f"SDT at s = {s:.3f}: width {task.width:.4g}, {task.parameters:,} parameters for the subnetwork's "
        f"{wanted:,} non-zeros ({task.parameters / wanted - 1:+.1%})"
        for s, task, wanted in checked.scale.small_dense()
    ]
