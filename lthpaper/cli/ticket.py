"""`lthpaper ticket …`: a trained subnetwork for other programs, and what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.command import Commands
from lthpaper.cli.options import DataFolder, StoreFolder, existing

if TYPE_CHECKING:
    from lthpaper.store.ticket import Ticket

console = terminal.console()
ticket_app = Commands(help="A trained subnetwork: export it, or measure what it costs.")
FORMS = 17  # columns of a form's name
COUNTS = (20, 22, 20)  # columns of parameters, operations and bytes: a row fits 80
RunName = Annotated[
    str,
    typer.Argument(
        help="A run's name or digest, or its first characters; `lthpaper store table` lists them."
    ),
]


Train = Annotated[
    bool, typer.Option("--train", help="Train the run again first, if the store lacks its weights.")
]


def _ticket(name: str, store: str, data: str, train: bool) -> "Ticket":
    """The ticket of the one run whose name or digest begins so."""
    from lthpaper.store import ticket as tickets
    from lthpaper.studies import train as trained

    results = existing(store)
    run = tickets.find(results, name)
    if train:
        trained(run, results, data or None, weights=True)
    return tickets.ticket(run, results)


@ticket_app.command(epilog="Example: lthpaper ticket export resnet8-digits-1a2b --to my-ticket")
def export(
    run: RunName,
    train: Train = False,
    to: Annotated[str, typer.Option("--to", help="Folder to write. Default: runs/tickets/RUN.")] = "",
    store: StoreFolder = "",
    data: DataFolder = "",
) -> None:
    """Write a run's weights, start and mask as safetensors that load without lthpaper.

    Published runs have no weights: where their masks are published, start and mask are written.
    """
    from lthpaper import locations

    found = _ticket(run, store, data, train)
    folder = found.save(locations.home() / (Path(to) if to else Path("runs/tickets") / found.run.name))
    kept = found.about()
    console.print(
        f"{kept['setting']}, sparsity {kept['sparsity']:.4f}, {kept['kept']:,} of {kept['prunable']:,} "
        f"prunable weights kept, test accuracy {kept['test_accuracy']:.2f} %"
    )
    if not found.weights:
        console.print(
            "The run is published without its trained weights: here are its start and its mask."
            " --train makes the weights."
        )
    console.print(f"Written to {folder}; its README.md says how to load it.")


@ticket_app.command(epilog="Example: lthpaper ticket cost resnet8-digits-1a2b --images 256")
def cost(
    run: RunName,
    train: Train = False,
    images: Annotated[int, typer.Option("--images", min=1, help="Images in a timed forward pass.")] = 128,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Timed rounds; 0: count only.")] = 20,
    store: StoreFolder = "",
    data: DataFolder = "",
) -> None:
    """Parameters, operations and bytes of a ticket in each form, and its speed on this processor."""
    from lthpaper.measures.cost import cost as counted
    from lthpaper.measures.speed import speeds, unmeasured

    found = _ticket(run, store, data, train)
    about, rows = found.about(), counted(found).to_dict("records")
    console.print(f"{about['setting']}, {about['run']}, sparsity {about['sparsity']:.4f}")
    _row("", "parameters", "FLOPs an image", "bytes")
    for row in rows:
        cells = (
            f"{row[what]:,} ({row[f'{what} of dense']:.3f})" for what in ("parameters", "flops", "bytes")
        )
        _row(row["form"], *cells)
    console.print("In brackets: of the dense network. FLOPs of bitmask, CSR and 2:4: with kept weights only.")
    if repeats:
        timed = speeds(found, images, repeats)
        first, rounds = timed.iloc[0], f"{repeats} round{'s' * (repeats != 1)}"
        console.print(
            f"\nA forward pass over {images} images, n = {rounds}, {first['threads']} "
            f"thread{'' if first['threads'] == 1 else 's'}, {first['machine']}"
        )
        for row in timed.to_dict("records"):
            quartiles = f" (quartiles {row['low']:.2f} to {row['high']:.2f})" * (repeats > 3)
            console.print(
                f"{row['form']:{FORMS}}{row['milliseconds']:>10.2f} ms, {row['of dense']:.2f} of dense"
                f"{quartiles}"
            )
    for sentence in unmeasured(found):
        console.print(sentence)


def _row(form: str, *cells: str) -> None:
    """Print a form and its counts, right-aligned."""
    counts = (f"{cell:>{width}}" for cell, width in zip(cells, COUNTS, strict=True))
    console.print(f"{form:{FORMS}}{''.join(counts)}", soft_wrap=True)
