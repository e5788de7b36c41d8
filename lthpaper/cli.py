"""The command `lthpaper`. Bad input ends in one sentence and status 2, never in a traceback."""

import errno
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lthpaper import terminal
from lthpaper.errors import InputError, require
from lthpaper.store_cli import store_app
from lthpaper.workers import WorkFailed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The sanity checks for lottery tickets (Ma et al., NeurIPS 2021): plan, train, draw.",
    epilog="Bad input exits with status 2 and one sentence; lthpaper --debug COMMAND shows the traceback.",
)
app.add_typer(store_app, name="store")
TORCHRUN = "TORCHELASTIC_RUN_ID"  # an environment variable of the processes that torchrun starts
console = terminal.console()

Figures = Annotated[
    list[str] | None, typer.Argument(help="Figures and tables, fig1 for one; all if none is named.")
]
ScaleName = Annotated[str, typer.Option("--scale", help="smoke (CI), laptop (minutes) or paper (GPU).")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="FIELD=VALUE", help="Change a field of the scale: --set seeds=5."),
]
StoreFolder = Annotated[
    str, typer.Option("--store", help="Folder of results. Default: LTHPAPER_STORE or runs/store.")
]
DataFolder = Annotated[
    str, typer.Option("--data", help="Folder of data sets. Default: LTHPAPER_DATA or data.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, or auto.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one a core, one on a GPU.")]


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; as LTHPAPER_DEBUG=1 does.")
    ] = False,
) -> None:
    if debug:
        os.environ["LTHPAPER_DEBUG"] = "1"  # where `main` looks, and other processes too
    require(
        TORCHRUN not in os.environ or context.invoked_subcommand == "run",
        f"torchrun is for `lthpaper run`; start `lthpaper {context.invoked_subcommand}` without it.",
    )


def _fields(pairs: list[str] | None) -> dict[str, str]:
    """["a=1"] -> {"a": "1"}."""
    for pair in pairs or []:
        value = pair.partition("=")[2].strip()  # an empty one would quietly mean the scale's own
        require(bool(value), f"{pair!r} is not FIELD=VALUE; for example --set seeds=5.")
    return {name.strip(): value for name, _, value in (pair.partition("=") for pair in pairs or [])}


def _pages(
    names: list[str] | None,
    scale: str,
    changes: dict[str, str],
    store: str,
    data: str,
    device: str,
    workers: int,
) -> list[Any]:
    from lthpaper.figures import FIGURES
    from lthpaper.page import Page

    wanted = names or list(FIGURES)
    options: dict[str, Any] = {"store": store, "data_root": data, "device": device, "workers": workers}
    return [Page(name, scale, **options, **changes) for name in wanted]


def _union(pages: list[Any]) -> tuple[list[Any], dict[Any, frozenset[int]]]:
    """The runs of several figures, and the weights that they want kept."""
    runs = [trial.run for page in pages for trial in page.trials]
    keep: dict[Any, frozenset[int]] = {}
    for page in pages:
        for run, epochs in page.spec.keep(page.scale).items():
            keep[run] = keep.get(run, frozenset()) | epochs
    return runs, keep


@app.command()
def plan(
    figures: Figures = None,
    scale: ScaleName = "smoke",
    changes: Changes = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    on: Annotated[str, typer.Option("--on", help="Simulate it on other devices: 8xh100, 2xcpu.")] = "",
    price: Annotated[float, typer.Option("--price", min=0, help="Dollars a device-hour, with --on.")] = 0.0,
    speed: Annotated[
        str, typer.Option("--speed", help="File of speeds measured on that device, with --on.")
    ] = "",
) -> None:
    """What is left to train for some figures, and what it will cost. Starts nothing."""
    from lthpaper import simulate
    from lthpaper.page import costs
    from lthpaper.plan import plan as plan_runs

    require(bool(on) or not (price or speed), "--price and --speed belong to --on, as in --on 8xh100.")
    if on:
        simulate.parse(on)

    pages = _pages(figures, scale, _fields(changes), store, data, device, workers)
    runs, keep = _union(pages)
    todo = plan_runs(runs, pages[0].store, keep)
    table = Table("", ", ".join(page.name for page in pages) + f" at {scale} scale", box=None)
    for name, value in costs(todo, "" if on else pages[0].device, workers or None)[""].items():
        table.add_row(str(name), str(value))
    for name, value in simulate.table(simulate.on(todo, on, speed), price).items() if on else ():
        table.add_row(f"{name} on {on}" if name == "makespan" else name, value)
    console.print(table)
    for runs_of_shape in todo.shapes.values():
        first, count = runs_of_shape[0], len(runs_of_shape)
        epochs = first.recipe.epochs
        console.print(f"  {count} trainings of {first.task.network} on {first.task.data}, {epochs} epochs")
    console.print(f"store: {pages[0].store.folder}")


@app.command()
def run(
    figures: Figures = None,
    scale: ScaleName = "smoke",
    changes: Changes = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train what some figures still lack. What is in the store is never trained again."""
    from lthpaper.sweep import execute

    pages = _pages(figures, scale, _fields(changes), store, data, device, workers)
    runs, keep = _union(pages)
    first = pages[0]
    done = execute(runs, first.store, first.data_root, first.device, workers or None, keep, quiet)
    console.print(f"{len(done.todo)} runs trained, {len(done.runs)} in the store {first.store.folder}")


@app.command()
def figures(
    names: Figures = None,
    scale: ScaleName = "smoke",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="NAME=VALUE", help="A parameter of the notebooks: --set seeds=5."
        ),
    ] = None,
    store: StoreFolder = "",
    data: DataFolder = "",
    device: Device = "auto",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Notebooks at once; 0: one a core.")] = 0,
    out: Annotated[str, typer.Option("--out", help="Folder for figures. Default: runs/figures/SCALE.")] = "",
    notebooks: Annotated[str, typer.Option("--notebooks", help="Folder of the notebooks.")] = "",
) -> None:
    """Regenerate figures: train everything they lack as one plan, then execute their notebooks."""
    from lthpaper import notebooks as batch
    from lthpaper import places
    from lthpaper.figures import FIGURES
    from lthpaper.page import notebook_folder
    from lthpaper.plan import worker_count
    from lthpaper.scales import Scale
    from lthpaper.sweep import execute

    chosen = batch.select(names or [], Path(notebooks) if notebooks else notebook_folder())
    given = _fields(changes)
    folder = places.figures_folder(scale, out)
    fixed = {"scale": scale, "store": str(places.store_folder(store).resolve()), "device": device}
    fixed |= {"out": str(folder.resolve())} | ({"data_root": str(Path(data).resolve())} if data else {})
    values = {name: fixed | batch.checked(path, given) for name, path in chosen.items()}

    changes_of_scale = {name: value for name, value in given.items() if name in Scale.__dataclass_fields__}
    drawn = [name for name in chosen if name in FIGURES]
    if drawn:
        pages = _pages(drawn, scale, changes_of_scale, store, data, device, 0)
        runs, keep = _union(pages)
        execute(runs, pages[0].store, pages[0].data_root, pages[0].device, None, keep)
    executed = places.home() / "runs" / "notebooks" / scale
    outcomes = []
    for outcome in batch.execute_all(chosen, values, executed, jobs or worker_count("cpu")):
        outcomes.append(outcome)
        console.print(f"{outcome.name}: {'FAILED' if outcome.error else 'drawn'} in {outcome.seconds:.0f} s")
    options = {"--store": store, "--data": data, "--out": out, "--notebooks": notebooks}
    again = ["--scale", scale, *(word for pair in changes or [] for word in ("--set", pair))]
    again += [word for option, value in options.items() if value for word in (option, value)]
    _report(outcomes, again if device == "auto" else [*again, "--device", device])
    console.print(f"Figures are in {folder}")
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


def _report(outcomes: list[Any], options: list[str]) -> None:
    """A table of what failed: notebook, cell, exception, where to look; below it how to rerun each."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed:
        return
    table = Table("notebook", "cell", "exception", "executed notebook")
    for outcome in failed:
        table.add_row(outcome.name, outcome.cell, outcome.error[:300], str(outcome.executed))
    console.print(table)
    console.print("Run again with")  # not in the table: a wrapped command cannot be copied
    for outcome in failed:
        console.print(f"  {shlex.join(['lthpaper', 'figures', outcome.name, *options])}")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="figures, scales, networks, data, pruning or runs.")] = "",
    store: StoreFolder = "",
) -> None:
    """Names that other commands take, or (list runs) what the store holds."""
    import dataclasses

    from lthpaper import data, networks, pruning
    from lthpaper.figures import FIGURES
    from lthpaper.scales import SCALES

    kinds = {
        "figures": lambda: {name: spec.title for name, spec in FIGURES.items()},
        "scales": lambda: {
            name: ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(value).items() if k != "name")
            for name, value in SCALES.items()
        },
        "networks": lambda: {
            name: f"{networks.count_parameters(name, 10):,} parameters with 10 classes, 32×32 inputs"
            for name in networks.NETWORKS
        },
        "data": lambda: {
            name: f"{s.card.train:,} + {s.card.test:,} images of {s.card.size}×{s.card.size}, "
            f"{s.card.num_classes} classes"
            for name, s in data.SOURCES.items()
        },
        "pruning": lambda: {
            name: (rule.__doc__ or "").splitlines()[0] for name, rule in pruning.RULES.items()
        },
    }
    if what == "runs":
        _list_runs(store)
        return
    require(what in (*kinds, ""), f"{what!r} cannot be listed; there are {', '.join(kinds)} and runs.")
    for kind in [what] if what else kinds:
        table = Table(kind, "", box=None, title_justify="left")
        for name, about in kinds[kind]().items():
            table.add_row(name, about)
        console.print(table)


def _list_runs(folder: str) -> None:
    from lthpaper import places
    from lthpaper.runs import setting
    from lthpaper.store import Store

    store = Store(places.store_folder(folder), places.published_folder())
    table = Table("run", "setting", "lr", "epochs", "seed", "sparsity", "accuracy", box=None)
    for result in store:
        r = result.run
        values = (f"{r.recipe.lr:g}", str(r.recipe.epochs), str(r.seed), f"{result.sparsity:.3f}")
        table.add_row(r.name, setting(r), *values, f"{result.accuracy:.2f}")
    console.print(table)
    console.print(f"{table.row_count} runs in {store.folder}")


@app.command()
def claims(
    scale: ScaleName = "smoke",
    changes: Changes = None,
    surfaces: Annotated[
        bool, typer.Option("--surfaces", help="Compute the loss surfaces that claim 14 needs, if missing.")
    ] = False,
    store: StoreFolder = "",
    data: DataFolder = "",
) -> None:
    """The paper's fourteen claims against the results in the store. Trains nothing."""
    from lthpaper import claims as board
    from lthpaper import places
    from lthpaper.scales import scale as scale_of
    from lthpaper.store import Store

    chosen = scale_of(scale, **_fields(changes))
    found = board.scoreboard(
        chosen,
        Store(places.store_folder(store), places.published_folder()),
        places.data_folder(data),
        surfaces,
    )
    shown = found[["claim", "words", "status", "by the means", "ours", "paper", "tried on"]]
    table = Table(*shown.columns, show_lines=True)
    for row in shown.itertuples(index=False):
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)


def _numbers(option: str, text: str, kind: type, example: str) -> tuple[Any, ...]:
    """ "4,8" -> (4, 8). Raises InputError that names the option."""
    try:
        values = tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = ()
    what = "whole numbers" if kind is int else "numbers"
    require(
        bool(values) and len(set(values)) == len(values),
        f"{option} is {text!r}; it takes different {what} with commas, for example {example}.",
    )
    return values


@app.command()
def check(
    network: Annotated[str, typer.Argument(help="A network's name, or package.module:function of your own.")],
    data: Annotated[str, typer.Option("--on", help="A data set's name, or package.module:name.")] = "digits",
    learning_rates: Annotated[
        str, typer.Option("--learning-rates", help="The grid, with commas.")
    ] = "0.005,0.01,0.05,0.1",
    rounds: Annotated[
        str, typer.Option("--rounds", help="IMP rounds k, for sparsities 1 - 0.8^k.")
    ] = "4,8,11",
    seeds: Annotated[int, typer.Option("--seeds", help="How often everything is repeated.")] = 3,
    epochs: Annotated[int, typer.Option("--epochs", help="Length of the recipe.")] = 60,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images a step.")] = 50,
    momentum: Annotated[float, typer.Option("--momentum", help="Of SGD.")] = 0.9,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Of SGD.")] = 1e-4,
    schedule: Annotated[
        str, typer.Option("--schedule", help="step (÷10 at 1/2 and 3/4) or cosine.")
    ] = "step",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    prunable: Annotated[
        list[str] | None, typer.Option("--prunable", help="Pattern of weights to prune; may be repeated.")
    ] = None,
    train_images: Annotated[int, typer.Option("--train-images", help="Use only so many; 0: all.")] = 0,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop.")] = False,
    store: StoreFolder = "",
    data_root: DataFolder = "",
    device: Device = "auto",
    workers: Workers = 0,
    out: Annotated[
        str, typer.Option("--out", help="Folder for the figure. Default: runs/check/NETWORK.")
    ] = "",
) -> None:
    """Put a network of your own through the sanity check: is its winning ticket one?"""
    from lthpaper import places
    from lthpaper.check import SanityCheck
    from lthpaper.page import costs
    from lthpaper.recipe import Recipe
    from lthpaper.store import Store

    milestones = tuple(sorted({m for m in (epochs // 2, epochs * 3 // 4) if m >= 1}))
    recipe = Recipe(epochs=epochs, batch_size=batch_size, momentum=momentum, milestones=milestones)
    recipe = recipe.with_(weight_decay=weight_decay, schedule=schedule, precision=precision)
    grid = _numbers("--learning-rates", learning_rates, float, "0.01,0.1")
    counts = _numbers("--rounds", rounds, int, "4,8")
    require(all(1 <= k <= 30 for k in counts), f"--rounds is {rounds}; each must be from 1 to 30.")
    checked = SanityCheck.of(
        network, data, recipe, grid, counts, seeds, prunable or (), train_images=train_images
    )
    results, root = (
        Store(places.store_folder(store), places.published_folder()),
        places.data_folder(data_root),
    )
    chosen_device = places.device(device)
    weights = checked.prunable()
    table = Table("parameter", "shape", "weights", "prunable", box=None)
    for row in weights.itertuples():
        table.add_row(
            row.parameter, "×".join(map(str, row.shape)), f"{row.weights:,}", "yes" if row.prunable else ""
        )
    console.print(table)
    for note in checked.notes():
        console.print(f"note: {note}")
    for line in _small_dense(checked):
        console.print(line)
    for name, value in costs(checked.plan(results), chosen_device, workers or None)[""].items():
        console.print(f"{name}: {value}")
    if plan_only:
        return
    checked.train(results, root, chosen_device, workers or None)
    for row in checked.verdicts(results).itertuples():
        judged = f"{row.kind}; with confidence: {row.kind_ours}"
        console.print(f"s = {row.sparsity:.3f} {row.pruning}: {judged}. {row.reason}")
    folder = places.home() / (out or f"runs/check/{checked.task.network.replace(':', '-')}")
    checked.draw(results, folder)
    console.print(f"The figure is in {folder}")


def _small_dense(checked: Any) -> list[str]:
    """How near SDT's parameter count comes to the subnetwork's non-zeros, a line a sparsity."""
    from lthpaper.settings import nonzeros

    wanted = {trial.sparsity: nonzeros(trial.run) for trial in checked.trials if trial.setting == "LT-OMP"}
    small = {trial.sparsity: trial.run.task for trial in checked.trials if trial.setting == "SDT"}
    return [
        f"SDT at s = {s:.3f}: width {task.width:.4g}, {task.parameters:,} parameters for the subnetwork's "
        f"{wanted[s]:,} non-zeros ({task.parameters / wanted[s] - 1:+.1%})"
        for s, task in small.items()
    ]


@app.command()
def bench(
    size: Annotated[list[str] | None, typer.Option("--size", help="digits, cifar; both if none.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute, noisier.")] = False,
    device: Device = "auto",
    out: Annotated[str, typer.Option("--out", help="Folder for the table and its JSON.")] = "runs/bench",
) -> None:
    """How fast this machine trains: the ordinary loop against ours, in one run, as ratios."""
    from lthpaper import bench as benchmark
    from lthpaper import places, surface_bench

    sizes = tuple(size or ("digits", "cifar"))
    rows = benchmark.run_bench(sizes, places.device(device), quick)
    benchmark.write(rows, places.home() / out)
    typer.echo(benchmark.report(rows))
    surfaces = surface_bench.bench_surface(sizes, quick, places.device(device))
    surface_bench.write(surfaces, places.home() / out)
    typer.echo(surface_bench.report(surfaces))
    console.print(f"Written to {places.home() / out}")


NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
NOT_A_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def _sentence(error: Exception) -> tuple[str, int]:
    """What a user is told of an error, and the exit status; "" for an error of ours."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, WorkFailed):
        return _failed_training(str(error)), 1
    where = f"{error.filename or 'The disk'} cannot be used ({error.strerror})"
    if error.errno in NOT_WRITABLE:
        return f"{where}. Free some space or name a folder that can be read and written, and run again.", 2
    if error.errno in NOT_A_FOLDER and error.filename:
        return f"{where}; name another place for it.", 2
    return "", 1


def _failed_training(log: str) -> str:
    """The last line of a worker's traceback, and where the whole of it lies."""
    from lthpaper import places

    path, last = places.home() / "runs" / "failed-training.log", log.strip().rpartition("\n")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(log)
    except OSError:  # what cannot be written is shown
        return f"A training failed: {last}\n{log}"
    return f"A training failed: {last}. The log is {path}; every other result is in the store."


def main() -> None:
    """Entry point: bad input is a sentence and status 2, a failed training status 1, an interrupt 130."""
    sys.path.insert(0, os.getcwd())  # networks and data sets of one's own lie where one works
    together = TORCHRUN in os.environ
    try:
        if together:
            from lthpaper import torchrun

            torchrun.take_part(app)
        else:
            app()
    except (InputError, OSError, WorkFailed) as error:
        said, status = _sentence(error)
        if not said:
            raise
        if os.environ.get("LTHPAPER_DEBUG"):
            traceback.print_exc()
        if not together or torchrun.speaks():
            print(f"lthpaper: {said}", file=sys.stderr)
        raise SystemExit(status) from None
    except SystemExit as ended:  # typer makes this of an interrupt
        if ended.code == 130:
            print("lthpaper: stopped; results so far are kept, the same command goes on.", file=sys.stderr)
        raise
