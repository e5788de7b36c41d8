"""`lthpaper notebooks copy`: copy the notebooks to where you work."""

from typing import Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.command import Commands

console = terminal.console()
notebooks_app = Commands(help="The notebooks: copy them to where you work.")


@notebooks_app.callback()
def _group() -> None:
    """Without a callback, typer would run `copy`, the only command, as `lthpaper notebooks`."""


@notebooks_app.command()
def copy(
    folder: Annotated[str, typer.Argument(help="Folder to copy them to.")] = "notebooks",
    replace: Annotated[bool, typer.Option("--replace", help="Write over notebooks that are there.")] = False,
) -> None:
    """Copy the notebooks to a folder; those that are there already stay as they are."""
    from lthpaper import locations
    from lthpaper.report import notebooks

    target = locations.home() / folder
    written, kept = notebooks.copy(target, replace)
    console.print(f"{len(written)} notebooks copied to {target}")
    if kept:
        console.print(f"{len(kept)} were there and are kept; --replace writes over them.")
    console.print(f"Open them with: jupyter lab {folder}", soft_wrap=True)
