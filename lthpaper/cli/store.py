"""`lthpaper store …`: check, merge, export, prune and repair a folder of results. Trains nothing."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lthpaper.cli import terminal
from lthpaper.cli.command import Commands
from lthpaper.cli.options import StoreFolder, existing, store_at
from lthpaper.errors import printable, require

if TYPE_CHECKING:  # torch takes a second to import; --help should not
    from lthpaper.store.merge import Brought

store_app = Commands(help="The store of trained runs: check, merge, export, prune, repair, list.")
console = terminal.console()

FROM = "Relative to the project's folder, as --store is."
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Only = Annotated[
    str, typer.Option("--only", metavar="PATTERN", help="Entries whose names match, such as 'resnet20-*'.")
]


@store_app.command()
def verify(
    store: StoreFolder = "",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="List only entries that have a problem.")
    ] = False,
) -> None:
    """Check every entry: checksums, digests against descriptions; checkpoints, drafts, orphans.

    Exits with status 1 if something is damaged or cannot be read, now or by this version.
    """
    from lthpaper.store import check
    from lthpaper.store.entry import repairing

    own = store_at(store)
    folder = check.existing(own.folder)
    table = terminal.table("entry", "status", "what")
    counts: Counter[str] = Counter()
    for checked in check.check_store(own):
        counts[checked.status] += 1
        if not (quiet and checked.status == check.GOOD):
            table.add_row(printable(checked.name), checked.status, printable(checked.what))
    if table.row_count:
        console.print(table)
    console.print(f"{_counted(counts) or 'no results, so nothing to check,'} in {folder}")
    if counts[check.DAMAGED] or counts[check.FOREIGN]:
        console.print(f"`{repairing(folder)}` sets damaged entries aside; --foreign those of other versions.")
    if counts[check.UNREADABLE]:
        console.print("What is unreadable may be whole: check it again when the disk or the network answers.")
    if counts[check.DAMAGED] or counts[check.FOREIGN] or counts[check.UNREADABLE]:
        raise typer.Exit(1)


@store_app.command()
def merge(
    other: Annotated[str, typer.Argument(help=f"The store of another machine. {FROM}")],
    store: StoreFolder = "",
    only: Only = "*",
    dry_run: DryRun = False,
) -> None:
    """Merge the results of another store into this one, checked. Nothing here is overwritten.

    Entries with the same content are skipped; weights and snapshots that are missing here are added.
    Conflicts (the same run, other numbers) are shown with both accuracies. Exits with status 1 if there
    are conflicts or damaged entries; all others have then been merged.
    """
    from lthpaper import locations
    from lthpaper.store import merge as merging

    target, source = store_at(store), locations.home() / other
    _bring(merging.bring(source, target, only, dry_run=dry_run), source, target.folder, dry_run)


@store_app.command()
def export(
    folder: Annotated[str, typer.Argument(help=f"Target folder; created if it does not exist. {FROM}")],
    weights: Annotated[bool, typer.Option(help="Copy weights too, or only descriptions and results.")] = True,
    store: StoreFolder = "",
    only: Only = "*",
    dry_run: DryRun = False,
) -> None:
    """Copy entries to a folder, for another machine or, without weights, for git."""
    from lthpaper import locations
    from lthpaper.store import merge as merging
    from lthpaper.store.store import Store

    own, target = store_at(store), Store(locations.home() / folder)
    require(
        own.folder.resolve() not in target.folder.resolve().parents,
        f"{folder} lies inside the store {own.folder}; name a folder beside it.",
    )
    brought = merging.bring(own.folder, target, only, weights, dry_run)
    _bring(brought, own.folder, target.folder, dry_run)


def _bring(brought: "Iterable[Brought]", source: Path, folder: Path, dry_run: bool) -> None:
    from lthpaper.store import merge as merging

    table = terminal.table("entry", "outcome", "what")
    counts: Counter[str] = Counter()
    for one in brought:
        counts[one.outcome] += 1
        if one.outcome != merging.THERE:
            table.add_row(printable(one.name), one.outcome, printable(one.what))
    if table.row_count:
        console.print(table)
    if not counts:
        console.print(f"{source} has no such entries: nothing was copied to {folder}")
        return
    would = " (dry run: nothing was written)" if dry_run else ""
    console.print(f"{_counted(counts)}: {folder}{would}")
    if counts[merging.CONFLICT] or counts[merging.REFUSED]:
        raise typer.Exit(1)


@store_app.command()
def prune(
    weights: Annotated[
        bool, typer.Option("--weights", help="Delete weights, masks and snapshots; results stay.")
    ] = False,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="Delete the weights of epochs before the last.")
    ] = False,
    entries: Annotated[bool, typer.Option("--entries", help="Delete whole entries; needs --only.")] = False,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="Delete drafts of killed processes, from an hour old on.")
    ] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Delete files that belong to no run here.")
    ] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Delete checkpoints of runs whose results are here.")
    ] = False,
    only: Only = "*",
    store: StoreFolder = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Really delete. Default: only list what would go.")
    ] = False,
) -> None:
    """Delete what you choose. A dry run unless --yes is given."""
    from lthpaper.store.prune import removals, remove

    require(
        weights or snapshots or entries or drafts or orphans or checkpoints,
        "Nothing was chosen; give one or more of --weights, --snapshots, --entries, --drafts, --orphans, "
        "--checkpoints.",
    )
    require(
        not entries or only != "*",
        "--entries without --only would delete every result; say which, for example --only 'resnet20-*'.",
    )
    own = store_at(store)
    chosen = removals(own, only, weights, snapshots, entries, drafts, orphans, checkpoints)
    table = terminal.table("file or folder", "why", "MB")
    for removal in chosen:
        name = printable(str(removal.path.relative_to(own.folder)))
        table.add_row(name, removal.why, f"{removal.bytes / 1e6:.2f}")
    if chosen:
        console.print(table)
    if yes:
        remove(own, chosen)
    done = "deleted" if yes else "would be deleted; --yes does it"
    console.print(f"{len(chosen)} files or folders, {sum(r.bytes for r in chosen) / 1e6:.1f} MB, {done}")


@store_app.command()
def repair(
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Move entries that this version cannot read, too.")
    ] = False,
    store: StoreFolder = "",
    dry_run: DryRun = False,
) -> None:
    """Move damaged entries to the store's folder `damaged`; nothing is deleted.

    What the disk does not give now stays where it is. The command that needs them then trains them again.
    """
    from lthpaper.store.prune import repair

    own = store_at(store)
    moved = repair(own, foreign, dry_run)
    table = terminal.table("entry", "what", "set aside as")
    for checked, kept in moved:
        place = "" if kept is None else str(kept.relative_to(own.folder))
        table.add_row(printable(checked.name), printable(checked.what), printable(place))
    if moved:
        console.print(table)
    done = "would be set aside" if dry_run else "set aside; run the same command again to train them"
    console.print(f"{len(moved)} {done}" if moved else f"Nothing is damaged in {own.folder}")


def _counted(counts: Counter) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if count)


@store_app.command(epilog="Example: lthpaper store table --csv runs.csv")
def table(
    csv: Annotated[str, typer.Option("--csv", help="File to write, comma-separated.")] = "",
    parquet: Annotated[str, typer.Option("--parquet", help="File to write, parquet.")] = "",
    store: StoreFolder = "",
) -> None:
    """List every run: setting, learning rate, sparsity, seed, accuracy; printed, or written to files."""
    from lthpaper import locations
    from lthpaper.report.readable import readable
    from lthpaper.store import listing

    for option, name, ending in (("--csv", csv, ".csv"), ("--parquet", parquet, ".parquet")):
        require(not name or name.endswith(ending), f"{option} is {name!r}; the name must end in {ending}.")
    frame = existing(store).table()
    files = [locations.home() / name for name in (csv, parquet) if name]
    for path in files:
        console.print(f"{len(frame)} runs written to {listing.write(frame, path)}")
    if not files:
        shown = ["setting", "network", "data", "lr", "epochs", "sparsity", "seed", "accuracy", "digest"]
        printed = terminal.table(*shown, whole="digest")
        for row in readable(frame[shown], digits=2).itertuples(index=False):
            printed.add_row(*row)
        console.print(printed)
