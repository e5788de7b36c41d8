"""Commands that plan and train: plan, run, status, bench."""

import json
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lthpaper.cli import terminal
from lthpaper.cli.command import folder_option, machine_option
from lthpaper.cli.options import (
    Budget,
    Changes,
    DataFolder,
    Device,
    Figures,
    MaxSeeds,
    ScaleName,
    StoreFolder,
    TimeLimit,
    UntilDecided,
    Workers,
    check_deciding,
    decide,
    fields,
    figures_like,
    most,
    store_at,
    studies_of,
    time_left,
    union,
)
from lthpaper.errors import require

console = terminal.console()
SECONDS_BETWEEN_LOOKS = 5.0  # of --watch
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for a script.")]


def plan(
    figures: Figures = None,
    scale: ScaleName = "smoke",
    changes: Changes = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    on: Annotated[str, typer.Option("--on", help="Predict the cost for other devices: 8xh100, 2xcpu.")] = "",
    price: Annotated[
        float, typer.Option("--price", min=0, metavar="DOLLARS", help="Price of a device-hour, with --on.")
    ] = 0.0,
    speed: Annotated[
        str, typer.Option("--speed", metavar="FILE", help="Speeds measured on that device, with --on.")
    ] = "",
    until_decided: UntilDecided = False,
    max_seeds: MaxSeeds = None,
    as_json: AsJson = False,
) -> None:
    """Say what is left to train for some figures, and what it will cost. This trains nothing.

    Speeds are measured the first time, in about a minute. A GPU takes some minutes for each shape of network
    and batch, since several forms are compiled and tried there. --until-decided: what `run` with the same
    option is expected to cost.
    """
    from lthpaper.sweep import simulate
    from lthpaper.sweep.costs import costs, missing_data, numbers, trainings
    from lthpaper.sweep.plan import again
    from lthpaper.sweep.plan import plan as plan_runs

    require(bool(on) or not (price or speed), "--price and --speed belong to --on, as in --on 8xh100.")
    if on:
        simulate.parse(on)

    require(not (on and until_decided), "--until-decided trains on this machine: leave --on out.")
    require(not (as_json and until_decided), "--json has no form for --until-decided: leave one of them out.")
    check_deciding(until_decided, max_seeds, seeds="seeds" in fields(changes))
    studies = studies_of(figures, scale, fields(changes), store, data, device, workers)
    if until_decided:
        _expected(studies, figures, max_seeds)
        return
    runs, keep = union(studies)
    todo = plan_runs(runs, studies[0].store, keep)
    predicted = simulate.on(todo, on, speed) if on else []
    priced = simulate.table(predicted, price) if on else {}
    if as_json:
        predicted = predicted or [simulate.here(todo, studies[0].device, workers or None)]
        about = {"device": on or studies[0].device, "store": studies[0].store.folder}
        about["missing_data"] = missing_data(todo, studies[0].data_root)
        typer.echo(json.dumps(numbers(todo, predicted, price) | about, default=str))
        return
    table = Table("", ", ".join(study.name for study in studies) + f" at {scale} scale", box=None)
    for name, value in costs(todo, "" if on else studies[0].device, workers or None)[""].items():
        table.add_row(str(name), str(value))
    for name, value in priced.items():
        table.add_row(f"{name} on {on}" if name == "time" else name, value)
    console.print(table)
    for line in trainings(todo):
        console.print(f"  {line}")
    if said := again(todo, studies[0].store, studies[0].device):
        console.print(f"  {said}")
    console.print(f"store: {studies[0].store.folder}")
    for sentence in missing_data(todo, studies[0].data_root):
        console.print(f"data: {sentence}")


def run(
    figures: Figures = None,
    scale: ScaleName = "smoke",
    changes: Changes = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    time_limit: TimeLimit = "",
    on: Annotated[str, machine_option(help="ray, ray:auto or ray:ADDRESS: train on a cluster.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress bar.")] = False,
    until_decided: UntilDecided = False,
    max_seeds: MaxSeeds = None,
    budget: Budget = "",
) -> None:
    """Train what some figures still lack. What is in the store is never trained again.

    SIGTERM, SIGUSR1 and Ctrl-C keep checkpoints and end it cleanly, with status 75. --until-decided trains
    two seeds, then more where a verdict still rests on them, until all are decided or too close to call.
    """
    for limit in (time_limit, budget):
        time_left(limit)  # refused before torch is imported
    check_deciding(until_decided, max_seeds, budget, "seeds" in fields(changes))
    require(not (on and until_decided), "--until-decided trains on this machine: leave --on out.")
    from lthpaper.sweep.execute import execute

    studies = studies_of(figures, scale, fields(changes), store, data, "cpu" if on else device, workers)
    if until_decided:
        _expected(studies, figures, max_seeds)
        for study in studies:
            decide(study, max_seeds, budget, time_limit, console.print, quiet)
        return
    runs, keep = union(studies)
    first = studies[0]
    if on:
        from lthpaper.sweep.ray_address import device_of

        device = device_of(on, device)  # not what this machine has
    where = (first.store, first.data_root, device if on else first.device, workers or None)
    left = time_left(time_limit)
    how = {"time_limit": left, "on": on, "signals": True, "curve_points": first.scale.curve_points}
    done = execute(runs, *where, keep, quiet, **how)
    console.print(f"{len(done.todo)} runs trained, {len(done.runs)} in the store {first.store.folder}")


def _expected(studies: list[Any], figures: list[str] | None, max_seeds: int | None) -> None:
    """Say what --until-decided is expected to cost. Raises InputError for figures without verdicts."""
    require(bool(figures), "Name the figures to decide: `lthpaper run fig3 --until-decided`.")
    expected = [study.expected_costs(*most(max_seeds))[""] for study in studies]
    for study, costs in zip(studies, expected, strict=True):
        for name, value in costs.items():
            console.print(f"{study.name}, {name}: {value}")


def status(
    figures: Annotated[
        list[str] | None,
        typer.Argument(
            help="Figures whose runs are counted. Default: all runs of the store.",
            autocompletion=figures_like,
        ),
    ] = None,
    scale: ScaleName = "laptop",
    changes: Changes = None,
    store: StoreFolder = "",
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every few seconds, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the runs of a store: done, under way, waiting, failed; the speed and the time left."""
    from lthpaper.store.check import existing
    from lthpaper.sweep.status import status as of_store

    at = store_at(store)
    runs = union(studies_of(figures, scale, fields(changes), store, "", "cpu", 0))[0] if figures else []
    if store or not runs:  # the published results answer for figures, where nothing was trained yet
        existing(at.folder)
    while True:
        found = of_store(at, runs)
        if watch and not as_json:
            console.clear()
        typer.echo(json.dumps(asdict(found), default=str) if as_json else str(found))
        if not watch:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def bench(
    size: Annotated[
        list[str] | None, typer.Option(help="digits, cifar or vgg; the first two if none.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure fewer rounds: shorter, noisier.")] = False,
    device: Device = "auto",
    out: Annotated[str, folder_option(help="Folder of the table and its JSON.")] = "runs/bench",
) -> None:
    """Measure how fast this machine trains: our engine against the ordinary loop, as ratios."""
    root = Path(__file__).parents[2]
    require(
        (root / "benchmarks" / "__init__.py").is_file(),
        "The benchmarks are not part of the installed package: they lie in benchmarks/ of the repository. "
        "Clone it and run `lthpaper bench` from there, with `pip install -e .`.",
    )
    sys.path.insert(0, str(root))
    import benchmarks as benchmark
    from benchmarks import surfaces as surface_bench
    from lthpaper import locations

    folder = locations.home() / out
    locations.check_out("The table", folder)
    sizes = tuple(size or ("digits", "cifar"))
    rows = benchmark.run_bench(sizes, locations.device(device), quick)
    benchmark.write(rows, folder)
    typer.echo(benchmark.report(rows))
    mapped = [name for name in sizes if name in surface_bench.SIZES]
    if mapped and find_spec("loss_landscapes") is None:
        console.print(
            "Loss surfaces are left out: they are compared with loss-landscapes, which is not installed."
        )
    elif mapped:
        surfaces = surface_bench.bench_surface(mapped, quick, locations.device(device))
        surface_bench.write(surfaces, folder)
        typer.echo(surface_bench.report(surfaces))
    console.print(f"Written to {folder}")
