"""`lthpaper export`: a figure's runs and verdicts for an experiment tracker."""

from typing import Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.command import folder_option
from lthpaper.cli.options import Changes, DataFolder, Figures, ScaleName, StoreFolder, fields, studies_of

console = terminal.console()


def export(
    figures: Figures = None,
    to: Annotated[str, typer.Option(help="trackio, wandb or tensorboard.")] = "trackio",
    project: Annotated[str, typer.Option(help="Name in the tracker. Default: lthpaper-SCALE.")] = "",
    scale: ScaleName = "laptop",
    changes: Changes = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    folder: Annotated[str, folder_option(help="TensorBoard's event files.")] = "runs/tensorboard",
) -> None:
    """Send the stored runs of some figures to a tracker: curves and verdicts. Trains nothing."""
    from lthpaper import locations
    from lthpaper.report import trackers
    from lthpaper.verdicts.evidence import NOT_RUN

    tracker = trackers.tracker(to, locations.home() / folder)  # first, since it may be refused
    studies = studies_of(figures, scale, fields(changes), store, data, "cpu", 0)
    results = studies[0].store
    runs = dict.fromkeys(trial.run for study in studies for trial in study.trials)
    found = [results.get(run) for run in runs if run in results]
    judged = (v for study in studies for v in study.verdicts["verdict"])
    whole = (v for v in judged if all(c.holds != NOT_RUN for c in v.conditions))
    verdicts = {(v.about, v.epochs): v for v in whole}
    sent, count = trackers.send(found, [*verdicts.values()], tracker, project or f"lthpaper-{scale}")
    console.print(f"{sent} of {len(runs)} runs and {count} verdicts sent to {to}")
    if not count:
        console.print("Verdicts come with the sanity check: lthpaper export fig3")
