"""`lthpaper results …`: list, extend, check and retrain the published results of every scale."""

import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lthpaper.cli import hub, terminal
from lthpaper.cli.command import Commands, folder_option
from lthpaper.cli.options import Changes, DataFolder, Device, Figures, StoreFolder, Workers, fields
from lthpaper.errors import printable, require

if TYPE_CHECKING:  # torch takes a second to import; --help should not
    from lthpaper.figures import FigureSpec
    from lthpaper.runs.scales import Scale
    from lthpaper.store.published import Published
    from lthpaper.store.store import Store

results_app = Commands(help="The published results: list, export, verify, audit, pull, push.")
console = terminal.console()

Folder = Annotated[
    str,
    folder_option("--results", help="The published results. Default: results, or those that are installed."),
]
OneScale = Annotated[str, typer.Option("--scale", help="Only this scale's. Default: all that are published.")]


def _published(folder: str, scale: str) -> "tuple[Path, Published]":
    """The folder and what is published in it, of one scale if it is named. Raises InputError if the scale is
    not published, or there is no such folder."""
    from lthpaper import locations
    from lthpaper.runs.scales import scale as scale_of
    from lthpaper.store import published

    place = locations.home() / folder if folder else locations.published_folder()
    place = place or locations.home() / "results"
    require(
        place.is_dir() or not folder, f"There is no folder {place}; --results names one of published results."
    )
    found = published.of(place)
    if scale and scale not in found.scales:
        scale_of(scale)  # says that there is no such scale, where there is none
    require(
        not scale or scale in found.scales,
        f"Nothing of the scale {scale!r} is published in {place}; there is "
        f"{', '.join(found.scales) or 'nothing at all'}.",
    )
    return place, published.Published({scale: found.scales[scale]}) if scale else found


@results_app.command("list")
def list_(
    scale: OneScale = "",
    results: Folder = "",
) -> None:
    """What is published, by scale and figure: runs, seeds, network-epochs, data, where it was trained."""
    from lthpaper.figures import FIGURES
    from lthpaper.runs.run import ancestors
    from lthpaper.runs.scales import SCALES
    from lthpaper.runs.siblings import is_sibling
    from lthpaper.store.store import Store

    place, found = _published(results, scale)
    store = Store(place / "none", place)  # the published layer alone
    for name, one in found.scales.items():
        about = one.manifest
        console.print(
            f"{name}: {len(one):,} runs, {about.get('network_epochs'):,} network-epochs; "
            f"{sum(f['bytes'] for f in about['files'].values()) / 1e6:.1f} MB"
        )
        for what in ("data", "devices", "revisions", "torch", "masks", "measurements", "licence"):
            if what in about or what != "masks":  # earlier exports have none
                console.print(f"  {what}: {printable(_said(about.get(what)))}")
        if name not in SCALES:
            continue
        table = Table("figure", "runs", "of", "seeds", "network-epochs", "measured", box=None)
        for figure, spec in FIGURES.items():
            trials = spec.trials(SCALES[name])
            runs = list(ancestors(dict.fromkeys(trial.run for trial in trials)))
            there = [run for run in runs if run.digest in one]
            seeds = len({t.run.seed for t in trials if t.run.digest in one and not is_sibling(t)})
            drawn = _drawn(spec, SCALES[name], store)
            cost = sum(run.cost for run in there)
            table.add_row(figure, str(len(there)), str(len(runs)), str(seeds), f"{cost:,}", drawn)
        console.print(table)
    if not found.scales:
        console.print("Nothing is published here.")


def _drawn(spec: "FigureSpec", scale: "Scale", store: "Store") -> str:
    """How many of a figure's measurements on weights are there: "80 of 80"; "yes" if it needs none."""
    wanted = spec.keep(scale)
    return f"{len(wanted) - len(spec.lacking(scale, store))} of {len(wanted)}" if wanted else "yes"


def _said(value: object) -> str:
    """{"a": 3, "b": 4} -> "a (3), b (4)"."""
    if isinstance(value, dict):
        inner = ((k, ", ".join(map(str, v)) if isinstance(v, list) else v) for k, v in value.items())
        return ", ".join(f"{k} ({v})" for k, v in inner)
    return str(value)


@results_app.command()
def export(
    names: Figures = None,
    scale: Annotated[str, typer.Option("--scale", help="The scale whose runs are published.")] = "laptop",
    changes: Changes = None,
    store: StoreFolder = "",
    out: Annotated[str, typer.Option("--out", help="Folder of published results. Default: results.")] = "",
    data: DataFolder = "",
) -> None:
    """Publish what the store has of a scale's figures: all finished seeds, in compact tables.

    Give it the --set options that the runs were trained with, as in --set seeds=12.
    What is published already stays. Missing measurements on weights (loss surfaces, R_p) are computed. If a
    run is published with other bits, it is refused and nothing is written.
    """
    from lthpaper import locations
    from lthpaper.figures import FIGURES
    from lthpaper.report.results_export import export as export_results
    from lthpaper.runs.scales import scale as scale_of
    from lthpaper.store.store import Store

    of = scale_of(scale, **fields(changes))
    own, place = Store(locations.store_folder(store)), locations.home() / (out or "results")
    done = export_results(names or list(FIGURES), of, own, place, locations.data_folder(data))
    for run in done.left_out:
        console.print(f"left out, since the store and the published results lack its ancestors: {run.name}")
    parts = [f"{done.runs} runs ({done.new} new)"]
    parts += [f"{done.masks} masks"] * bool(done.masks)
    parts += [f"{count} measurements of {name}" for name, count in done.measurements.items()]
    console.print(f"{', '.join(parts)} in {done.folder}, {done.bytes / 1e6:.2f} MB")
    if done.no_room:
        console.print(f"{done.no_room} masks are left out, since there is no room for them in git.")
    if done.lacking:
        same = shlex.join(
            [*(names or []), "--scale", scale, *(word for pair in changes or [] for word in ("--set", pair))]
        )
        console.print(
            f"{done.lacking} runs are not trained yet; `lthpaper plan {same}` says how long they "
            f"take, and `lthpaper run {same}` trains them."
        )


@results_app.command()
def verify(scale: OneScale = "", results: Folder = "") -> None:
    """Check everything published: checksums, digests against descriptions, curves, counts, measurements.

    Exits with status 1 if something is wrong. It trains nothing; `audit` does.
    """
    from lthpaper.store.results_check import faults

    _, found = _published(results, scale)
    wrong = 0
    for name, one in found.scales.items():
        said = list(faults(one))
        for fault in said:
            console.print(f"{name}: {printable(fault)}")
        if not said:
            what = f"{len(one)} runs, {len(one.masks)} masks, {len(one.names)} kinds of measurements"
            console.print(f"{name}: {what}: all good")
        wrong += len(said)
    if not found.scales:
        console.print("Nothing is published here.")
    if wrong:
        raise typer.Exit(1)


@results_app.command()
def audit(
    sample: Annotated[int, typer.Option("--sample", min=1, help="Runs to train again.")] = 10,
    scale: Annotated[str, typer.Option("--scale", help="The scale whose runs are audited.")] = "laptop",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of the random choice. Default: a new one each time, which is printed.",
        ),
    ] = None,
    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Start from the published masks instead of training ancestors again, where there are some. "
            "Each run is then audited by itself, and the making of its mask is not.",
        ),
    ] = False,
    results: Folder = "",
    data: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Train a random sample of the published runs here again, and compare.

    Bits are equal where torch uses the same vector instructions; elsewhere accuracies are compared with the
    spread over seeds. Every run can be chosen; the more network-epochs it and its ancestors take, the less
    likely it is. Exits with status 1 if what was trained here contradicts what is published.
    """
    from lthpaper import locations
    from lthpaper.sweep import audit as auditing

    require(bool(scale), "--scale is empty; name the scale whose runs are audited, such as laptop.")
    _, found = _published(results, scale)
    one, drawn = found.scales[scale], secrets.randbelow(10**6) if seed is None else seed
    require(not masks or bool(one.masks), f"No masks of the scale {scale} are published; leave out --masks.")
    chosen = auditing.choose(one.runs.values(), sample, drawn, one if masks else None)
    needed = auditing.needed(chosen, one if masks else None)
    console.print(
        f"{len(chosen)} of {len(one)} published runs, chosen with --seed {drawn}; with the ancestors that "
        f"they need {len(needed)} runs, {sum(run.cost for run in needed):,} network-epochs"
    )
    where = (locations.data_folder(data), locations.device(device), workers or None)
    report = auditing.audit(one, chosen, *where, masks=masks)
    shown = auditing.rows(report)
    table = Table(*shown.columns, box=None)
    for row in shown.to_dict("records"):
        table.add_row(*(f"{value:.2f}" if name in POINTS else f"{value}" for name, value in row.items()))
    console.print(table)
    also = sum(a.equal for a in report.also)
    if report.also:
        console.print(f"Of {len(report.also)} ancestors, trained on the way, {also} have the published bits.")
    verdict = auditing.verdict(report)
    console.print(verdict.sentence)
    if advice := auditing.advice(report):
        console.print(advice)
    if not verdict.consistent:
        raise typer.Exit(1)


POINTS = ("published", "here", "difference")  # columns of percent

for command in (hub.pull, hub.push):
    results_app.command()(command)
