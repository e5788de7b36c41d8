"""The command figures: train, then execute notebooks."""

import json
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.command import folder_option
from lthpaper.cli.options import (
    DataFolder,
    Device,
    Figures,
    Jobs,
    NotebookFolder,
    Parameters,
    ScaleName,
    StoreFolder,
    TimeLimit,
    existing,
    fields,
    studies_of,
    time_left,
    union,
)
from lthpaper.sweep.stopping import Unfinished

console = terminal.console()


def figures(
    names: Figures = None,
    scale: ScaleName = "smoke",
    changes: Parameters = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    time_limit: TimeLimit = "",
    train: Annotated[bool, typer.Option(help="Train what is missing, or draw what is there.")] = True,
    jobs: Jobs = 0,
    out: Annotated[str, folder_option(help="Pictures and tables. Default: runs/figures/SCALE.")] = "",
    notebooks: NotebookFolder = "",
) -> None:
    """Regenerate figures: train everything they lack as one plan, then execute their notebooks.

    With --no-train nothing is trained or timed: figures show what the store and the published results hold.
    """
    with draw(
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
    ) as batch:
        console.print(f"Figures are in {batch.folder}")
    if batch.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Batch:
    """The outcome of a batch of notebooks, in the paper's order. folder: of the figures; fields: those of the
    scale that were changed."""

    outcomes: list[Any]
    folder: Path
    fields: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether a notebook raised an error."""
        return any(outcome.error for outcome in self.outcomes)


@contextmanager
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
    again: str = "",
) -> Iterator[Batch]:
    """Train what figures lack, as one plan, and execute their notebooks; say how each ended.

    The arguments are the options of `figures`; again: the command that makes all of it anew, where it is
    another. The executed notebooks stay as they are until the block is left. Raises InputError for an unknown
    figure, parameter or value.
    """
    from lthpaper import locations
    from lthpaper.report import notebooks as batch
    from lthpaper.sweep.plan import worker_count

    time_left(time_limit)  # refused before anything else
    locations.device(device)
    existing(store, train)
    chosen = batch.select(names or [], Path(notebooks) if notebooks else locations.notebook_folder())
    given = fields(changes)
    if not train:
        trains = [name for name, path in chosen.items() if "train" not in batch.parameters(path)]
        if trains:
            console.print(f"Left out, since these notebooks always train: {', '.join(trains)}")
        chosen = {name: path for name, path in chosen.items() if name not in trains}
    hint = "" if names else " Without names all notebooks take it: name the figures to change."
    checked = {name: batch.checked(path, given, hint) for name, path in chosen.items()}
    changes_of_scale, own = parted(scale, given)
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
        fixed |= {"train": False}
    if time_left(time_limit) == 0:
        raise Unfinished(
            "Everything is trained, but the time limit was reached before the figures were drawn."
        )
    values = {name: fixed | checked[name] for name in chosen}
    executed = locations.home() / "runs" / "notebooks" / locations.changed(scale, own)
    with _alone(executed, time_left(time_limit)):
        outcomes = []
        try:
            for outcome in batch.execute_all(chosen, values, executed, jobs or worker_count("cpu")):
                outcomes.append(outcome)
                how = "FAILED" if outcome.error else "drawn"
                there = "" if outcome.error else _drawn_from(folder / f"{outcome.name}.json")
                console.print(f"{outcome.name}: {how} in {outcome.seconds:.0f} s{there}")
        except KeyboardInterrupt:
            done = f"{len(outcomes)} of {len(chosen)} notebooks are executed"
            raise Unfinished(f"Stopped, since SIGINT asked for it: {done}.") from None
        places = {"--store": store, "--data": data, "--out": out, "--notebooks": notebooks}
        places |= {"--time-limit": time_limit}
        options = ["--scale", scale, *(word for pair in changes or [] for word in ("--set", pair))]
        options += [word for option, value in places.items() if value for word in (option, value)]
        options += [] if train else ["--no-train"]
        options += [] if device == "auto" else ["--device", device]
        _report(outcomes, again, options)
        order = list(chosen)
        yield Batch(sorted(outcomes, key=lambda o: order.index(o.name)), folder, changes_of_scale)


def _drawn_from(provenance: Path) -> str:
    """ ", from 72 of 90 runs", of a figure that was drawn just now; "" if it shows none."""
    if not provenance.is_file():
        return ""
    about = json.loads(provenance.read_text())
    return f", from {about['results']:,} of {about['runs']:,} runs" if about["runs"] else ""


def parted(scale: str, given: dict[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """(those of the parameters that are fields of the scale; whatever differs from the registered scale)."""
    from lthpaper.runs.scales import Scale
    from lthpaper.runs.scales import scale as scale_of
    from lthpaper.studies import changes

    of_scale = {name: value for name, value in given.items() if name in Scale.__dataclass_fields__}
    others = {name: value for name, value in given.items() if name not in of_scale}
    return of_scale, changes(scale_of(scale, **of_scale)) | others


@contextmanager
def _alone(folder: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold a folder of executed notebooks, where every command at a scale writes; reports are made of it.

    seconds: to wait for another command at most; then Unfinished is raised.
    """
    from filelock import FileLock, Timeout

    from lthpaper.store.locks import NO_LOCKS

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"Another command executes notebooks in {folder}; this one goes on when it has ended.")
        try:
            lock.acquire(timeout=-1 if seconds is None else seconds)
        except Timeout:
            raise Unfinished("The time limit was reached while another command drew figures.") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


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


def _report(outcomes: list[Any], again: str, options: list[str]) -> None:
    """A table of what failed: notebook, cell, exception; below it where to look, and how to rerun each, or
    with `again` all."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    table = Table("notebook", "cell", "exception")
    for outcome in failed:
        table.add_row(outcome.name, outcome.cell, outcome.error[:300])
    console.print(table)
    console.print("The executed notebooks, each with its traceback")  # a wrapped path cannot be copied
    for outcome in failed:
        console.print(f"  {outcome.executed}", soft_wrap=True)
    each = (shlex.join(["lthpaper", "figures", outcome.name, *options]) for outcome in failed)
    console.print("Run again with")
    for command in [again] if again else each:
        console.print(f"  {command}", soft_wrap=True)
