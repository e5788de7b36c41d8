"""`lthpaper ticket …`: a trained subnetwork for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.options import DataFolder, StoreFolder, store_at

console = terminal.console()
ticket_app = typer.Typer(no_args_is_help=True, help="A trained subnetwork, for other programs.")


@ticket_app.callback()
def _group() -> None:
    """Keeps `export` a command of its own while it is the only one."""


@ticket_app.command(epilog="Example: lthpaper ticket export resnet8-digits-1a2b --to my-ticket")
def export(
    run: Annotated[str, typer.Argument(help="A run's name or digest, or how one begins (`list runs`).")],
    to: Annotated[str, typer.Option("--to", help="Folder to write. Default: runs/tickets/RUN.")] = "",
    store: StoreFolder = "",
    data: DataFolder = "",
) -> None:
    """Write a run's weights, start and mask as safetensors that load without lthpaper."""
    from lthpaper import locations
    from lthpaper.store import ticket as ticket_export

    results = store_at(store)
    found = ticket_export.ticket(ticket_export.find(results, run), results)
    folder = found.save(locations.home() / (Path(to) if to else Path("runs/tickets") / found.run.name))
    kept = found.about()
    console.print(
        f"{kept['setting']}, sparsity {kept['sparsity']:.4f}, {kept['kept']:,} of {kept['prunable']:,} "
        f"prunable weights kept, test accuracy {kept['test_accuracy']:.2f} %"
    )
    console.print(f"Written to {folder}; its README.md says how to load it.")
