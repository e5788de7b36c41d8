"""The command list: names that other commands take, and what the store holds."""

import dataclasses
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.options import StoreFolder, store_at
from lthpaper.errors import require, suggestion

if TYPE_CHECKING:  # torch takes a second to import; --help should not
    from lthpaper.store.store import Result, Store

console = terminal.console()
MOST_ROWS = 100  # that `list runs` prints, a run each


def list_(
    what: Annotated[
        str, typer.Argument(help="figures, scales, networks, data, pruning, inits or runs.")
    ] = "",
    store: StoreFolder = "",
) -> None:
    """Names that other commands take, or (list runs) what the store holds."""
    if what == "runs":
        _list_runs(store)
        return
    kinds = ", ".join(KINDS)
    require(
        what in (*KINDS, ""),
        f"{what!r} cannot be listed.{suggestion(what, KINDS)} There are {kinds} and runs.",
    )
    for kind in [what] if what else KINDS:
        table = Table(kind, "", box=None, title_justify="left")
        for name, about in KINDS[kind]().items():
            table.add_row(name, about)
        console.print(table, soft_wrap=False)


def _where(store: "Store") -> str:
    """The folder of a store, whether it is there, and the published results below it."""
    missing = "" if store.folder.is_dir() else ", which does not exist"
    return f"{store.folder}{missing}" + (f", and published in {store.published}" if store.published else "")


def _figures() -> dict[str, str]:
    """In the paper's order, by their notebooks: to import what draws them takes seconds. A notebook that does
    not study a figure of its own name is no figure that `plan` and `run` know."""
    from lthpaper import locations
    from lthpaper.report import notebooks

    return {
        name: notebooks.title(path)
        + ("" if rf"study(\"{name}\"" in path.read_text(errors="replace") else " (notebook only)")
        for name, path in notebooks.find(locations.notebook_folder()).items()
    }


def _scales() -> dict[str, str]:
    from lthpaper.runs.scales import SCALES

    return {
        name: ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(value).items() if k != "name")
        for name, value in SCALES.items()
    }


def _networks() -> dict[str, str]:
    from lthpaper import networks

    counted = "parameters with 10 classes, 32×32 inputs"
    return {name: f"{networks.count_parameters(name, 10):,} {counted}" for name in networks.NETWORKS}


def _data() -> dict[str, str]:
    from lthpaper import data

    cards = {name: source.card for name, source in data.SOURCES.items()}
    return {
        name: f"{c.train:,} + {c.test:,} images of {c.size}×{c.size}, {c.num_classes} classes"
        for name, c in cards.items()
    }


def _pruning() -> dict[str, str]:
    from lthpaper.runs import pruning, rules

    judged = (*rules.judged(), "own")
    found = {
        name: (rule.__doc__ or "").splitlines()[0] + " (not for --pruning)" * (name not in judged)
        for name, rule in pruning.RULES.items()
    }
    return found | {"package.module:Class": found.pop("own")}


def _inits() -> dict[str, str]:
    from lthpaper.runs import inits

    return {name: (kind.__doc__ or "").splitlines()[0] for name, kind in inits.INITS.items()}


KINDS = {
    "figures": _figures,
    "scales": _scales,
    "networks": _networks,
    "data": _data,
    "pruning": _pruning,
    "inits": _inits,
}


def _list_runs(folder: str) -> None:
    """One row per run; where these would be pages, a row for all runs of a network, length and setting."""
    from lthpaper.runs.run import setting

    store = store_at(folder)
    results = list(store)
    if len(results) <= MOST_ROWS:
        table = terminal.table("run", "setting", "lr", "epochs", "seed", "sparsity", "accuracy")
        for result in results:
            r = result.run
            values = (f"{r.recipe.lr:g}", str(r.recipe.epochs), str(r.seed), f"{result.sparsity:.3f}")
            table.add_row(r.name, setting(r), *values, f"{result.accuracy:.2f}")
    else:
        table = terminal.table("network", "data", "T", "setting", "runs", "lr", "sparsity", "seeds")
        groups: dict[tuple[str, str, int, str], list[Result]] = {}
        for result in results:
            r = result.run
            groups.setdefault((r.task.network, r.task.data, r.recipe.epochs, setting(r)), []).append(result)
        for (network, data, epochs, name), some in sorted(groups.items()):
            rates = _span((result.run.recipe.lr for result in some), "g")
            sparsities = _span((result.sparsity for result in some), ".2f")
            seeds = len({result.run.seed for result in some})
            table.add_row(network, data, str(epochs), name, str(len(some)), rates, sparsities, str(seeds))
    console.print(table, soft_wrap=False)
    console.print(f"{len(results)} runs in {_where(store)}")
    if len(results) > MOST_ROWS:
        option = f" --store {shlex.quote(folder)}" if folder else ""
        console.print(
            f"One row per run, with its digest: lthpaper store table{option}; --csv FILE writes it to a file."
        )


def _span(values: Iterable[float], form: str) -> str:
    """0.01, or 0.005–0.1."""
    found = sorted(set(values))
    return "–".join(dict.fromkeys(format(value, form) for value in (found[0], found[-1])))
