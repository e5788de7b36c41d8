"""Options that several commands share, and what they mean."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lthpaper.cli.command import deciding_option, folder_option, machine_option
from lthpaper.errors import require
from lthpaper.sweep.stopping import seconds

if TYPE_CHECKING:  # torch takes a second to import; --help should not
    from lthpaper.store.store import Store

BEGAN = time.time()  # nearly the start of the command, since slow imports come later


def figures_like(incomplete: str) -> list[str]:
    """The figures whose names begin so, by their notebooks, for the shell's completion."""
    from lthpaper import locations
    from lthpaper.report import notebooks

    return [name for name in notebooks.find(locations.notebook_folder()) if name.startswith(incomplete)]


def _scales_like(incomplete: str) -> list[str]:
    from lthpaper.runs.scales import SCALES

    return [name for name in SCALES if name.startswith(incomplete)]


Figures = Annotated[
    list[str] | None,
    typer.Argument(help="Figures and tables, such as fig1. Default: all.", autocompletion=figures_like),
]
ScaleName = Annotated[
    str,
    typer.Option(
        "--scale",
        help="smoke (minutes), laptop (hours), desktop (days) or paper (a GPU).",
        autocompletion=_scales_like,
    ),
]
_set = partial(typer.Option, "--set", "-s")
Changes = Annotated[
    list[str] | None,
    _set(metavar="FIELD=VALUE", help="Change a field of the scale, as in --set seeds=5; repeatable."),
]
Parameters = Annotated[
    list[str] | None,
    _set(metavar="NAME=VALUE", help="A parameter of the notebooks, as in --set seeds=5; repeatable."),
]
Jobs = Annotated[
    int,
    machine_option("--jobs", "-j", min=0, metavar="N", help="Notebooks executed at once. 0: one per core."),
]
NotebookFolder = Annotated[
    str, folder_option("--notebooks", help="The notebooks. Default: notebooks, or those that are installed.")
]
StoreFolder = Annotated[
    str, folder_option("--store", help="The results. Default: LTHPAPER_STORE, or runs/store.")
]


def _look_for_data_in(folder: str) -> str:
    """Have custom data sets looked for in `--data` too."""
    if folder:
        from lthpaper import locations

        locations.look_for_data_in(folder)
    return folder


DataFolder = Annotated[
    str,
    folder_option(
        "--data", help="The data sets. Default: LTHPAPER_DATA, or data.", callback=_look_for_data_in
    ),
]
Device = Annotated[str, machine_option("--device", help="cpu, cuda, cuda:1, or auto.")]
Workers = Annotated[
    int,
    machine_option(
        "--workers",
        min=0,
        metavar="N",
        help="Processes that train. 0: one per core, or one on a GPU.",
    ),
]
TimeLimit = Annotated[
    str,
    machine_option(
        "--time-limit",
        metavar="TIME",
        help="Stop cleanly, with status 75, after 90s, 25m, 2h or 1h30m. The same command resumes.",
    ),
]
UntilDecided = Annotated[
    bool, deciding_option("--until-decided", help="Add seeds only where a verdict is still open.")
]
MaxSeeds = Annotated[
    int | None,
    deciding_option(
        "--max-seeds", metavar="N", help="Most seeds per cell, with --until-decided. Default: 20."
    ),
]
Budget = Annotated[
    str,
    deciding_option(
        "--budget",
        metavar="TIME",
        help="Time for --until-decided, such as 2h. It then reports the verdicts so far.",
    ),
]


def check_deciding(until_decided: bool, max_seeds: int | None, budget: str = "", seeds: bool = False) -> None:
    """Raise InputError for options that have no effect without --until-decided, or with it. seeds: whether a
    number of seeds was given."""
    require(
        not (until_decided and seeds),
        "A number of seeds has no effect with --until-decided, which adds them where a verdict is open; "
        "--max-seeds limits them.",
    )
    require(
        until_decided or not budget,
        "--budget belongs to --until-decided; give that too, or --time-limit instead.",
    )
    require(
        until_decided or max_seeds is None,
        "--max-seeds belongs to --until-decided; give that too, or a number of seeds instead.",
    )
    if max_seeds is not None:
        from lthpaper.verdicts.deciding import looks

        looks(max_seeds)


def decide(
    study: Any, max_seeds: int | None, budget: str, time_limit: str, say: Callable[[str], None], quiet: bool
) -> int:
    """Train a study until its verdicts are decided, and say them; the seeds that the cells with most have."""
    limits = {"budget": time_left(budget), "time_limit": time_left(time_limit)}
    return int(study.decide(*most(max_seeds), told=say, quiet=quiet, **limits).attrs["seeds"])


def most(max_seeds: int | None) -> tuple[int, ...]:
    """--max-seeds as an argument of `Study.decide` and `expected_costs`; none if it was not given."""
    return () if max_seeds is None else (max_seeds,)


def store_at(folder: str) -> "Store":
    """The store that `--store` names, over the project's published results."""
    from lthpaper.store.store import open_store

    return open_store(folder)


def existing(folder: str, train: bool = False) -> "Store":
    """The same, for what only reads it unless it trains. Raises InputError if `--store` names none."""
    from lthpaper.store import check

    store = store_at(folder)
    if folder and not train:
        check.existing(store.folder)
    return store


def time_left(limit: str) -> float | None:
    """Seconds that are left of a time limit; None without one. Raises InputError if it is not a time."""
    return max(0.0, seconds(limit) - (time.time() - BEGAN)) if limit else None


def fields(pairs: list[str] | None) -> dict[str, str]:
    """["a=1"] -> {"a": "1"}."""
    found: dict[str, str] = {}
    for pair in pairs or []:
        name, _, value = pair.partition("=")
        # an empty value would silently mean the scale's own
        require(bool(value.strip()), f"{pair!r} is not FIELD=VALUE; for example --set seeds=5.")
        name = name.strip()
        require(name not in found, f"--set {name}=… is given twice; leave one out. A list is {name}=1,2.")
        found[name] = value
    return found


def studies_of(
    names: list[str] | None,
    scale: str,
    changes: dict[str, Any],
    store: str,
    data: str,
    device: str,
    workers: int,
) -> list[Any]:
    """The studies of the named figures, or of all. names to workers: the values of the options.

    Raises InputError for an unknown figure, scale, field or value.
    """
    from lthpaper.figures import FIGURES
    from lthpaper.studies import studies

    require(
        "own-network" not in (names or ()),
        "own-network is about a network of yours: `lthpaper check NETWORK --plan` says what it costs.",
    )
    wanted = list(dict.fromkeys(names or FIGURES))  # a figure that is named twice counts once
    options: dict[str, Any] = {"store": store, "data_root": data, "device": device, "workers": workers}
    return studies(wanted, scale, fields=changes, **options)


def union(studies: list[Any]) -> tuple[list[Any], dict[Any, frozenset[int]]]:
    """The runs of several figures, and the weights that they still need."""
    runs = [trial.run for study in studies for trial in study.trials]
    keep: dict[Any, frozenset[int]] = {}
    for study in studies:
        for run, epochs in study.spec.lacking(study.scale, study.store).items():
            keep[run] = keep.get(run, frozenset()) | epochs
    return runs, keep
