"""The command claims: the scoreboard of the paper's claims and of later work's."""

from typing import Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.options import Changes, DataFolder, ScaleName, StoreFolder, existing, fields

console = terminal.console()


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
    found = board.scoreboard(chosen, existing(store), locations.data_folder(data), surfaces)
    for row in found.to_dict("records"):
        if row["claim"] == next(iter(board.FOLLOW_UPS)):
            console.print("\nWhat later work states (its source under “paper”)\n")
        means = "" if row["by the means"] == row["status"] else f" (by the means {row['by the means']})"
        console.print(f"{row['claim']}  {row['words']}: {row['status']}{means}")
        for what in ("ours", "paper", "tried on"):
            if row[what]:
                seeds = f" (n = {row['n']})" if what == "ours" and row["n"] else ""
                console.print(f"    {what}{seeds}: {row[what]}")
