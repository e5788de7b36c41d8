"""`lthpaper report`: figures, tables and the scoreboard as one HTML file to send to a colleague."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.command import folder_option
from lthpaper.cli.figures import draw, parted
from lthpaper.cli.options import (
    DataFolder,
    Device,
    Figures,
    Jobs,
    NotebookFolder,
    Parameters,
    ScaleName,
    StoreFolder,
    fields,
    store_at,
)

console = terminal.console()


def report(
    names: Figures = None,
    scale: ScaleName = "laptop",
    changes: Parameters = None,
    out: Annotated[
        str,
        folder_option(
            metavar="FILE",
            help="The report. Default: runs/reports/SCALE.html, SCALE-fig1.html of one figure.",
        ),
    ] = "",
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    train: Annotated[bool, typer.Option(help="Train what is missing, or show what is there.")] = False,
    jobs: Jobs = 0,
    notebooks: NotebookFolder = "",
) -> None:
    """Execute figures' notebooks and put them into one HTML file that works offline.

    Nothing is trained unless --train says so: the report shows what the store and the published results hold.
    """
    from lthpaper import locations
    from lthpaper.report import one_page
    from lthpaper.report.report import report as report_of

    _, own = parted(scale, fields(changes))
    path = locations.home() / (out or usual(locations.changed(scale, own), names))
    one_page.check_target(path)
    options = {"store": store, "data": data, "device": device, "notebooks": notebooks}
    options["again"] = shlex.join(["lthpaper", *sys.argv[1:]])
    with draw(names, scale, changes, time_limit="", train=train, jobs=jobs, **options) as batch:
        text = report_of(batch.outcomes, scale, batch.fields, batch.folder, store_at(store), data)
        one_page.write(path, text)
    console.print(f"The report is {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if batch.failed:
        raise typer.Exit(1)


def usual(scale: str, names: list[str] | None) -> Path:
    """The file of a report of these figures, None of all, from the project's folder."""
    return Path("runs/reports") / f"{'-'.join([scale, *(names or [])])}.html"
