"""The command that puts a network of one's own through the sanity check."""

from typing import Annotated, Any

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.options import DataFolder, Device, StoreFolder, TimeLimit, Workers, time_left
from lthpaper.errors import require

console = terminal.console()


def _numbers(option: str, text: str, kind: type, example: str) -> tuple[Any, ...]:
    """ "4,8" -> (4, 8). Raises InputError that names the option."""
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


def check(
    network: Annotated[str, typer.Argument(help="A network's name, or package.module:function of your own.")],
    data: Annotated[str, typer.Option("--on", help="A data set's name, or package.module:name.")] = "digits",
    learning_rates: Annotated[
        str, typer.Option("--learning-rates", help="The grid, with commas.")
    ] = "0.005,0.01,0.05,0.1",
    rounds: Annotated[
        str, typer.Option("--rounds", help="IMP rounds k, for sparsities 1 - 0.8^k.")
    ] = "4,8,11",
    seeds: Annotated[int, typer.Option("--seeds", help="How often everything is repeated.")] = 3,
    epochs: Annotated[int, typer.Option("--epochs", help="Length of the recipe.")] = 60,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images a step.")] = 50,
    momentum: Annotated[float, typer.Option("--momentum", help="Of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Of SGD.")] = 1e-4,
    schedule: Annotated[
        str, typer.Option("--schedule", help="step (÷10 at 1/2 and 3/4) or cosine.")
    ] = "step",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    prunable: Annotated[
        list[str] | None, typer.Option("--prunable", help="Pattern of weights to prune; may be repeated.")
    ] = None,
    train_images: Annotated[int, typer.Option("--train-images", help="Use only so many; 0: all.")] = 0,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop.")] = False,
    store: StoreFolder = "",
    data_root: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    time_limit: TimeLimit = "",
    out: Annotated[
        str, typer.Option("--out", help="Folder for the figure. Default: runs/check/NETWORK.")
    ] = "",
) -> None:
    """Put a network of your own through the sanity check: is its winning ticket one?"""
    from lthpaper import checks, locations
    from lthpaper.paper import CIFAR
    from lthpaper.runs.recipe import Recipe
    from lthpaper.sweep.execute import execute

    time_left(time_limit)  # refused before anything else
    given = {"epochs": epochs, "batch_size": batch_size, "momentum": momentum, "precision": precision}
    given |= {"weight_decay": weight_decay, "schedule": schedule}
    recipe = Recipe(**CIFAR.arguments(epochs) | given)
    grid = _numbers("--learning-rates", learning_rates, float, "0.01,0.1")
    counts = _numbers("--rounds", rounds, int, "4,8")
    folder = locations.home() / (out or f"runs/check/{network.replace(':', '-')}")
    sizes = {"learning_rates": grid, "rounds": counts, "seeds": seeds, "train_images": train_images}
    places = {"store": store, "data_root": data_root, "out": folder, "device": device, "workers": workers}
    checked = checks.check(network, data, recipe=recipe, prunable=prunable, **sizes, **places)
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
    for name, value in checked.costs()[""].items():
        console.print(f"{name}: {value}")
    if plan_only:
        return
    where, left = (checked.store, checked.data_root, checked.device, checked.workers), time_left(time_limit)
    execute(checked.runs, *where, time_limit=left, signals=True)
    for row in checked.verdicts.itertuples():
        judged = f"{row.kind}; with confidence: {row.kind_ours}"
        console.print(f"s = {row.sparsity:.3f} {row.pruning}: {judged}. {row.reason}")
    checked.draw()
    console.print(f"The figure is in {folder}")


def _small_dense(checked: Any) -> list[str]:
    """How near SDT's parameter count comes to the subnetwork's non-zeros, a line a sparsity."""
    from lthpaper.runs.settings import nonzeros

    wanted = {trial.sparsity: nonzeros(trial.run) for trial in checked.trials if trial.setting == "LT-OMP"}
    small = {trial.sparsity: trial.run.task for trial in checked.trials if trial.setting == "SDT"}
    return [
        f"SDT at s = {s:.3f}: width {task.width:.4g}, {task.parameters:,} parameters for the subnetwork's "
        f"{wanted[s]:,} non-zeros ({task.parameters / wanted[s] - 1:+.1%})"
        for s, task in small.items()
    ]
