"""A study: one figure at one scale, from the plan to the picture. Notebooks work with it (`lth.study`)."""

import copy
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import pandas as pd
from matplotlib.figure import Figure

from lthpaper import locations
from lthpaper.errors import require
from lthpaper.figures import FigureSpec
from lthpaper.figures import figure as figure_named
from lthpaper.figures.publish import fingerprint_warning, publish, sources
from lthpaper.paper import Thresholds
from lthpaper.report.accuracies import accuracies
from lthpaper.report.findings import Findings, findings
from lthpaper.report.folded import Folded
from lthpaper.report.notebooks import BATCH
from lthpaper.runs.inits.fresh import check_drawn
from lthpaper.runs.run import Run
from lthpaper.runs.scales import SCALES, Scale
from lthpaper.runs.scales import scale as scale_named
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Result, Store, open_store
from lthpaper.store.table import table
from lthpaper.sweep.costs import costs, missing_data
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import Plan, plan, worker_count
from lthpaper.sweep.status import Status
from lthpaper.sweep.status import status as store_status
from lthpaper.sweep.stopping import Unfinished
from lthpaper.until_decided import MOST_SEEDS, Question, decide, expected
from lthpaper.verdicts import paper_beside_ours, tickets

_check_drawn = lru_cache(maxsize=64)(check_drawn)  # it builds the network three times
ADVISING = ("guideline",)  # advises on a network and data of its own, beside what it trains
CHOOSING = {  # fields that choose what is trained, and what other figures have in their place
    "network": "experiments (contour_network in Figures 4 and 5, correlation_networks in Figure 6)",
    "data": "experiments",
    "experiments": "network and data",
    "learning_rates": "grid",
    "grid": "learning_rates",
    "rounds": "",
    "insufficient_epochs": "",
    "controls": "",
}


def study(
    figure: str,
    scale: str | Scale = "laptop",
    *,
    store: Store | str | Path | None = None,
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    train: bool = True,
    **fields: Any,
) -> "Study":
    """A figure or table of the paper at a scale. It describes; `train()` trains.

        study = lth.study("fig1", scale="laptop", seeds=5)
        study.plan      # what is left to train; study.costs() says how long that takes
        study.train()   # train it
        study.table     # one row per run
        study.draw()    # the figure, written to study.folder too

    fields: any field of the scale; None means the scale's value. store (or a Store), data_root, out: folders;
    None means the project's (`lthpaper.locations`). train: with False it never trains and measures no speed,
    and the figure shows the results that exist. Raises InputError for an unknown figure, scale, field, value.
    """
    places: dict[str, Any] = {"store": store, "data_root": data_root, "device": device, "workers": workers}
    (found,) = studies([figure], scale, out=out, train=train, fields=fields, **places)
    return found


def studies(
    figures: Sequence[str],
    scale: str | Scale,
    *,
    fields: Mapping[str, Any],
    out: str | Path | None = None,
    **how: Any,
) -> "list[Study]":
    """Several figures at one scale. fields: of the scale, each of which changes what one of them trains."""
    for figure in figures:
        require(isinstance(figure, str), f"The figure is {figure!r}; it must be a name such as 'fig1'.")
    specs = {figure: figure_named(figure) for figure in figures}
    chosen = scale_named(scale, **fields)
    _refuse_idle(specs, scale, {name: value for name, value in fields.items() if value is not None})
    folder = locations.figures_folder(chosen.name, out, changes(chosen))
    return [Study(name.replace(":", "-"), spec, chosen, folder, **how) for name, spec in specs.items()]


def _refuse_idle(specs: Mapping[str, FigureSpec], scale: str | Scale, fields: Mapping[str, Any]) -> None:
    """Raise InputError for a field that chooses what is trained but, in these figures, changes nothing."""
    specs = {name: spec for name, spec in specs.items() if name not in ADVISING}
    for name in fields:
        if name not in CHOOSING:
            continue
        given, without = (
            scale_named(scale, **{**fields, name: value, "seeds": 1}) for value in (fields[name], None)
        )
        if getattr(given, name) == getattr(without, name):
            continue  # the scale's own value
        trained = [(spec.trials(given), spec.trials(without)) for spec in specs.values()]
        idle = any(with_it for with_it, _ in trained) and all(a == b for a, b in trained)
        twin = f", or give {CHOOSING[name]} in its place" if CHOOSING[name] else ""
        require(not idle, f"{name} changes nothing that {' and '.join(specs)} trains: leave it out{twin}.")


class Study:
    """A figure and what it is computed from: runs, results, table, picture, verdicts, findings.

    name: of the files in `folder`. spec: how it is measured and drawn. scale: a Scale, or an object that the
    spec's functions accept instead (a SanityCheck). thresholds: of the verdicts; by default the paper's for
    each data set.
    """

    def __init__(
        self,
        name: str,
        spec: FigureSpec,
        scale: Any,
        folder: Path,
        *,
        store: Store | str | Path | None = None,
        data_root: str | Path | None = None,
        device: str | None = None,
        workers: int | None = None,
        train: bool = True,
        thresholds: Thresholds | None = None,
    ):
        self.name, self.spec, self.scale, self.folder = name, spec, scale, folder
        self.store = open_store(store)
        self.data_root = locations.data_folder(data_root)
        self.device = locations.device(device)
        self.workers = workers or None
        worker_count(self.device, self.workers)  # refuses what is no number of workers
        self.trains, self.thresholds = train, thresholds

    def __repr__(self) -> str:
        return f"<{self.name} at {self.scale.name} scale: {len(self.runs)} runs; store {self.store.folder}>"

    # --- what is trained ---

    @cached_property
    def trials(self) -> list[Trial]:
        """The runs that the figure shows, with their settings. Raises InputError for a network of one's own
        whose initial weights its seed does not fix, as `lth.check` does."""
        found = self.spec.trials(self.scale)
        for task in dict.fromkeys(trial.run.task for trial in found):
            if task.width == 1:  # SDT's are the same function, made narrow
                _check_drawn(task)
        return found

    @property
    def runs(self) -> list[Run]:
        """The runs that the figure shows, each once; their ancestors are trained too."""
        return list(dict.fromkeys(trial.run for trial in self.trials))

    @property
    def plan(self) -> Plan:
        """What the store still lacks for this figure."""
        return plan(self.runs, self.store, self.spec.lacking(self.scale, self.store))

    def costs(self) -> pd.DataFrame:
        """The plan in numbers: runs, network-epochs, hours on this device, disk.

        Raises InputError if data to train on is missing, or a network fails on it.
        """
        todo = self.plan
        if not self.trains:
            return costs(todo, "")
        require(not (missing := missing_data(todo, self.data_root)), " ".join(missing))
        return costs(todo, self.device, self.workers)

    def train(self, quiet: bool = False) -> None:
        """Train what is missing, with one live bar.

        An interrupt keeps checkpoints and raises Unfinished, with one sentence; another call resumes.
        """
        if not self.trains:
            missing = [run for run in self.runs if run not in self.store]
            if missing and not quiet:
                print(
                    f"{len(missing)} of {len(self.runs)} runs are missing and stay so, since train is false."
                )
            return
        keep, points = self.spec.lacking(self.scale, self.store), self.scale.curve_points
        where = (self.store, self.data_root, self.device, self.workers)
        try:
            execute_interruptibly(self.runs, *where, keep=keep, quiet=quiet, curve_points=points)
        finally:
            self.forget()

    def with_seeds(self, seeds: int) -> Self:
        """The same study over another number of seeds."""
        other = copy.copy(self)
        other.scale = dataclasses.replace(self.scale, seeds=seeds)
        other.forget()
        other.__dict__.pop("trials", None)
        return other

    def question(self, most: int = MOST_SEEDS, level: float = 0.95) -> Question:
        """The verdicts that `decide` has to settle. Raises InputError if the study has none."""
        return Question(lambda n: self.with_seeds(n).trials, self.store, self.thresholds, most, level)

    def decide(
        self,
        most: int = MOST_SEEDS,
        level: float = 0.95,
        budget: float | None = None,
        told: Callable[[str], None] = lambda sentence: None,
        quiet: bool = False,
        time_limit: float | None = None,
    ) -> pd.DataFrame:
        """Train seeds until every verdict is decided, `most` are reached or the budget (seconds) is over.

        `expected_costs` says before what that takes. Returns `verdicts` at the level that repeated looks ask
        for (`until_decided.decide`). Results stay in the store: the same call goes on. An interrupt or the
        time limit (seconds) raises Unfinished, after the verdicts so far were `told`.
        """
        require(self.trains, "train is false, so that nothing is trained: leave it out to decide verdicts.")
        where = (self.data_root, self.device, self.workers)
        points = self.scale.curve_points
        try:
            return decide(self.question(most, level), *where, budget, told, quiet, points, time_limit)
        finally:
            self.forget()

    def expected_costs(self, most: int = MOST_SEEDS) -> pd.DataFrame:
        """What `decide` costs: first round, expected, maximum."""
        device = self.device if self.trains else ""
        return pd.DataFrame({"": expected(self.question(most), device, self.workers)})

    def forget(self) -> None:
        """Drop cached results, since more were trained."""
        for cached in ("table", "results", "verdicts"):
            self.__dict__.pop(cached, None)

    # --- the results ---

    @cached_property
    def results(self) -> pd.DataFrame:
        """One row per run, in the columns of store.table; NaN for results that the store lacks."""
        return table(self.trials, self.store)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy table that the figure draws."""
        return self.spec.measure(self.trials, self.store, self.scale, self.data_root)

    @property
    def accuracies(self) -> pd.DataFrame:
        """The results for reading: one column per setting, mean ± standard deviation over seeds, percent."""
        return accuracies(self.results)

    def draw(self) -> Figure:
        """Draw the figure; PNG, PDF, table and provenance are written to `folder`."""
        fig = self.spec.plot(self.table, self.scale)
        about = self.provenance
        if warning := fingerprint_warning(about):
            fig.text(0.01, 0.01, warning, fontsize=6, color="#D55E00")
        publish(fig, self.table, about, self.folder, self.tabulated, self.spec.title)
        if os.environ.get(BATCH):
            show_file(fig, self.folder / f"{self.name}.png")
        return fig

    @property
    def tabulated(self) -> pd.DataFrame | None:
        """The table as the paper prints it; None for a figure."""
        return self.spec.tabulate(self.table, self.scale) if self.spec.tabulate else None

    # --- what it says ---

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per network, data set, sparsity and pruning: is it a winning ticket (tickets.COLUMNS)?"""
        subnetworks = self.results["setting"].str.startswith(("LT", "RR"))
        judged = self.results if subnetworks.any() else self.results.iloc[:0]
        return tickets.verdicts(judged, self.thresholds)

    def numbers(self, place: str = "") -> pd.DataFrame:
        """The accuracies that the paper states in one place ("Fig. 1"; "": anywhere) beside ours."""
        return paper_beside_ours.beside(self.results, self.scale, place)

    def relations(self, place: str = "") -> pd.DataFrame:
        """The differences and bounds that the paper states in one place beside ours."""
        return paper_beside_ours.relations(self.results, self.scale, place)

    def findings(self) -> Findings:
        """What we see, in sentences computed from the table: the claims that this figure speaks to."""
        return findings(self.name, self.spec, self.scale, self.table, self.results, self.verdicts)

    @property
    def provenance(self) -> Folded:
        """What the figure was drawn from; a notebook shows it as a line that unfolds."""
        about = sources(self.name, self.scale, self.trials, self.store)
        said = f"{about['results']:,} of {about['runs']:,} runs, {about['runs_hash']}, lthpaper "
        return Folded(about, f"Provenance: {said}{about['versions']['lthpaper']}")


def status(figure: str | None = None, scale: str | Scale = "laptop", **how: Any) -> Status:
    """What trains in the project's store, or in that of `store=`; with a figure, also what it still lacks.

    how: arguments of `study`.
    """
    if figure is None:
        return store_status(open_store(how.get("store")))
    asked = study(figure, scale, **how)
    return store_status(asked.store, asked.runs)


def train(
    runs: Run | Iterable[Run],
    store: Store | str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
    weights: bool = False,
) -> list[Result]:
    """Train what a store lacks of a run or several and their ancestors; the runs' results, in their order.

    store: a Store, its folder, or None for the project's. weights: train a run again, too, whose weights and
    mask the store lacks, as it does those of published results. An interrupt is handled as in Study.train.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs) if isinstance(runs, Iterable) else [runs]
    for run in runs:
        require(
            isinstance(run, Run),
            f"{run!r} is not a Run; give runs, such as lth.pretraining(task, recipe), or a Trial's run."
            " A figure trains by lth.study('fig1').train().",
        )
    results = open_store(store)
    root, where = locations.data_folder(data_root), locations.device(device)
    keep = {run: frozenset({run.recipe.epochs}) for run in runs} if weights else None
    execute_interruptibly(runs, results, root, where, workers, keep=keep, quiet=quiet)
    return [results.get(run) for run in runs]


def execute_interruptibly(runs: Iterable[Run], store: Store, *where: Any, **how: Any) -> Plan:
    """`sweep.execute`, but an interrupt raises Unfinished, which says what is kept."""
    kept = f"Finished runs are in {store.folder}, those under way have a checkpoint: train again to resume."
    try:
        return execute(runs, store, *where, **(how | {"signals": True}))
    except Unfinished as unfinished:
        raise Unfinished(f"{unfinished} {kept}") from None
    except KeyboardInterrupt:  # a second one, or one where signals cannot be caught
        raise Unfinished(f"Interrupted. {kept}") from None


def show_file(fig: Figure, file: Path) -> None:
    """Show a figure's file in the place of the figure, which the notebook then does not draw once more."""
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    plt.close(fig)
    display(Image(filename=file, retina=True))


def changes(of: Scale) -> dict[str, Any]:
    """The fields in which a scale differs from the registered scale of its name."""
    own = SCALES.get(of.name)
    if own is None:  # a custom scale, whose name says everything
        return {}
    names = (field.name for field in dataclasses.fields(of))
    return {name: getattr(of, name) for name in names if getattr(of, name) != getattr(own, name)}
