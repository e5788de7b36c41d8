"""The command claims: the scoreboard of the paper's claims and of later work's."""

from typing import Annotated

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.options import Changes, DataFolder, ScaleName, StoreFolder, fields, store_at

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
    found = board.scoreboard(chosen, store_at(store), locations.data_folder(data), surfaces)
    shown = found[["claim", "words", "status", "by the means", "ours", "paper", "tried on"]]
    table = Table(*shown.columns, show_lines=True)
    for row in shown.itertuples(index=False):
        if row.claim == next(iter(board.FOLLOW_UPS)):
            table.add_section()
            table.add_row("", "follow-ups: what later work states (source under “paper”)")
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table, soft_wrap=False)  # as wide as the terminal
