"""Commands that draw and tell: figures, list, claims."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.command import FOLDERS
from lthpaper.cli.options import (
    Changes,
    DataFolder,
    Device,
    Figures,
    Jobs,
    NotebookFolder,
    Parameters,
    ScaleName,
    StoreFolder,
    TimeLimit,
    fields,
    store_at,
    studies_of,
    time_left,
    union,
)
from lthpaper.errors import require, suggestion
from lthpaper.sweep.stopping import Unfinished

if TYPE_CHECKING:  # torch takes a second to import; --help should not
    from lthpaper.store.store import Result, Store

console = terminal.console()
MOST_ROWS = 100  # that `list runs` prints, a run each


def figures(
    names: Figures = None,
    scale: ScaleName = "smoke",
    changes: Parameters = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    time_limit: TimeLimit = "",
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train what is missing, or draw what is there.")
    ] = True,
    jobs: Jobs = 0,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Pictures and tables. Default: runs/figures/SCALE.",
            rich_help_panel=FOLDERS,
        ),
    ] = "",
    notebooks: NotebookFolder = "",
) -> None:
    """Regenerate figures: train everything they lack as one plan, then execute their notebooks.

    With --no-train nothing is trained or timed: figures show what the store and the published results hold.
    """
    batch = draw(
        names,
        scale,
        changes,
        store=store,
        data=data,
        device=device,
        time_limit=time_limit,
        train=train,
        jobs=jobs,
        out=out,
        notebooks=notebooks,
    )
    console.print(f"Figures are in {batch.folder}")
    if batch.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Batch:
    """What a batch of notebooks came to, in the paper's order. folder: of the figures; fields: those of the
    scale that were changed."""

    outcomes: list[Any]
    folder: Path
    fields: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether a notebook raised an error."""
        return any(outcome.error for outcome in self.outcomes)


def draw(
    names: list[str] | None,
    scale: str,
    changes: list[str] | None,
    *,
    store: str,
    data: str,
    device: str,
    time_limit: str,
    train: bool,
    jobs: int,
    out: str = "",
    notebooks: str = "",
) -> Batch:
    """Train what figures lack, as one plan, and execute their notebooks; say how each ended.

    The arguments are the options of `figures`. Raises InputError for an unknown figure, parameter or value.
    """
    from lthpaper import locations
    from lthpaper.report import notebooks as batch
    from lthpaper.runs.scales import Scale
    from lthpaper.runs.scales import scale as scale_of
    from lthpaper.studies import changes as changed_fields
    from lthpaper.sweep.plan import worker_count

    time_left(time_limit)  # refused before anything else
    chosen = batch.select(names or [], Path(notebooks) if notebooks else locations.notebook_folder())
    given = fields(changes)
    checked = {name: batch.checked(path, given) for name, path in chosen.items()}
    changes_of_scale = {name: value for name, value in given.items() if name in Scale.__dataclass_fields__}
    own = changed_fields(scale_of(scale, **changes_of_scale))
    own |= {name: value for name, value in given.items() if name not in changes_of_scale}
    folder = locations.figures_folder(scale, out, own)
    fixed: dict[str, object] = {
        "scale": scale,
        "store": str(locations.store_folder(store).resolve()),
        "device": device,
    }
    fixed |= {"out": str(folder.resolve())} | ({"data_root": str(Path(data).resolve())} if data else {})
    if train:
        _train(chosen, scale, changes_of_scale, store, data, device, time_limit)
    else:
        trains = [name for name, path in chosen.items() if "train" not in batch.parameters(path)]
        if trains:
            console.print(f"Left out, since it is there to train: {', '.join(trains)}")
        chosen = {name: path for name, path in chosen.items() if name not in trains}
        fixed |= {"train": False}
    if time_left(time_limit) == 0:
        raise Unfinished("Everything is trained, but the time limit is reached: the figures are to be drawn.")
    values = {name: fixed | checked[name] for name in chosen}
    executed = locations.home() / "runs" / "notebooks" / locations.changed(scale, own)
    outcomes = []
    try:
        for outcome in batch.execute_all(chosen, values, executed, jobs or worker_count("cpu")):
            outcomes.append(outcome)
            how = "FAILED" if outcome.error else "drawn"
            console.print(f"{outcome.name}: {how} in {outcome.seconds:.0f} s")
    except KeyboardInterrupt:
        done = f"{len(outcomes)} of {len(chosen)} notebooks are executed"
        raise Unfinished(f"Stopped, since SIGINT asked for it: {done}.") from None
    options = {"--store": store, "--data": data, "--out": out, "--notebooks": notebooks}
    options |= {"--time-limit": time_limit}
    again = ["--scale", scale, *(word for pair in changes or [] for word in ("--set", pair))]
    again += [word for option, value in options.items() if value for word in (option, value)]
    again += [] if train else ["--no-train"]
    _report(outcomes, again if device == "auto" else [*again, "--device", device])
    order = list(chosen)
    return Batch(sorted(outcomes, key=lambda o: order.index(o.name)), folder, changes_of_scale)


def _train(
    chosen: Iterable[str],
    scale: str,
    changes: dict[str, str],
    store: str,
    data: str,
    device: str,
    time_limit: str,
) -> None:
    """Train what the figures among these notebooks lack. Raises Unfinished if the time is over before."""
    from lthpaper.figures import FIGURES
    from lthpaper.sweep.execute import execute

    drawn = [name for name in chosen if name in FIGURES]
    if drawn:
        studies = studies_of(drawn, scale, changes, store, data, device, 0)
        runs, keep = union(studies)
        where, left = (studies[0].store, studies[0].data_root, studies[0].device), time_left(time_limit)
        points = studies[0].scale.curve_points
        execute(runs, *where, keep=keep, time_limit=left, signals=True, curve_points=points)


def _report(outcomes: list[Any], options: list[str]) -> None:
    """A table of what failed: notebook, cell, exception, where to look; below it how to rerun each."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    table = Table("notebook", "cell", "exception", "executed notebook")
    for outcome in failed:
        table.add_row(outcome.name, outcome.cell, outcome.error[:300], str(outcome.executed))
    console.print(table)
    console.print("Run again with")  # not in the table: a wrapped command cannot be copied
    for outcome in failed:
        console.print(f"  {shlex.join(['lthpaper', 'figures', outcome.name, *options])}")


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
    """In the paper's order, by their notebooks: to import what draws them takes seconds."""
    from lthpaper import locations
    from lthpaper.report import notebooks

    return {name: notebooks.title(path) for name, path in notebooks.find(locations.notebook_folder()).items()}


def _scales() -> dict[str, str]:
    import dataclasses

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
    from lthpaper.runs import pruning

    return {name: (rule.__doc__ or "").splitlines()[0] for name, rule in pruning.RULES.items()}


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
    """A row a run; where these would be pages, a row for all runs of a network, length and setting."""
    from lthpaper.runs.run import setting

    store = store_at(folder)
    results = list(store)
    if len(results) <= MOST_ROWS:
        table = Table("run", "setting", "lr", "epochs", "seed", "sparsity", "accuracy", box=None)
        for result in results:
            r = result.run
            values = (f"{r.recipe.lr:g}", str(r.recipe.epochs), str(r.seed), f"{result.sparsity:.3f}")
            table.add_row(r.name, setting(r), *values, f"{result.accuracy:.2f}")
    else:
        columns = ("network", "data", "T", "setting", "runs", "lr", "sparsity", "seeds")
        table = Table(*columns, box=None, padding=(0, 1, 0, 0))  # within 80 columns
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
            f"A row a run, with its digest: lthpaper store table{option}; --csv FILE writes that to a file."
        )


def _span(values: Iterable[float], form: str) -> str:
    """0.01, or 0.005–0.1."""
    found = sorted(set(values))
    return "–".join(dict.fromkeys(format(value, form) for value in (found[0], found[-1])))


def claims(
    scale: ScaleName = "laptop",
    changes: Changes = None,
    surfaces: Annotated[
        bool, typer.Option("--surfaces", help="Compute the loss surfaces that claim 14 needs, if missing.")
    ] = False,
    store: StoreFolder = "",
    data: DataFolder = "",
) -> None:
    """The paper's claims, and those of later work, against the results in the store. Trains nothing."""
    from lthpaper import locations
    from lthpaper.runs.scales import scale as scale_of
    from lthpaper.verdicts import claims as board

    chosen = scale_of(scale, **fields(changes))
    found = board.scoreboard(chosen, store_at(store), locations.data_folder(data), surfaces)
    shown = found[["claim", "words", "status", "by the means", "ours", "paper", "tried on"]]
    table = Table(*shown.columns, show_lines=True)
    for row in shown.itertuples(index=False):
        if row.claim == next(iter(board.FOLLOW_UPS)):
            table.add_section()
            table.add_row("", "follow-ups: what later work states (source under “paper”)")
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table, soft_wrap=False)  # as wide as the terminal
