"""Figures and tables by name. A new one is one new file here, with its notebook. Instead of a name, a custom
one has its path, `package.module:SPEC`.

A figure is two pure functions: `trials(scale)` names the runs that it shows, `plot(table, scale)`
draws the tidy table of their results (store.table.COLUMNS). It never trains.

    register("fig1", FigureSpec("Preliminary results", trials, plot))

A figure that needs more than accuracies adds `keep(scale)`, the epochs whose weights it reads, and
`measure(trials, store, scale, data_root)`, which computes the table that `plot` gets. What it works out of
weights it keeps (measurements.py), and `is_measured(run, store, scale)` says whether it would find that and
read no weights of a run: then none are trained for it. `measurement` is the name that it is kept under, so
that it can be published. A table of the paper adds `tabulate(table, scale)`, the DataFrame that is published
as Markdown and LaTeX. `says(table, scale)` gives sentences for "What we see" beside those on the paper's
claims and the verdicts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.errors import imported, require
from lthpaper.registry import Registry
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table

Measure = Callable[[list[Trial], Store, Scale, str | Path | None], pd.DataFrame]


@dataclass(frozen=True)
class FigureSpec:
    """title: what it shows, in one line. The other fields: see above."""

    title: str
    trials: Callable[[Scale], list[Trial]]
    plot: Callable[[pd.DataFrame, Scale], Figure]
    keep: Callable[[Scale], Mapping[Run, frozenset[int]]] = lambda scale: {}
    tabulate: Callable[[pd.DataFrame, Scale], pd.DataFrame] | None = None
    measure: Measure = lambda trials, store, scale, data_root: table(trials, store)
    says: Callable[[pd.DataFrame, Scale], list[str]] = lambda table, scale: []
    measurement: str = ""
    is_measured: Callable[[Run, Store, Scale], bool] = lambda run, store, scale: False

    def lacking(self, scale: Scale, store: Store) -> dict[Run, frozenset[int]]:
        """`keep`, without the runs whose measurements are there."""
        kept = self.keep(scale)
        return {run: epochs for run, epochs in kept.items() if not self.is_measured(run, store, scale)}


FIGURES: Registry[FigureSpec] = Registry("figure", "lthpaper.figures", "package.module:SPEC")


def register(name: str, spec: FigureSpec) -> FigureSpec:
    """Give a figure its name."""
    return FIGURES.register(name)(spec)


def figure(name: str) -> FigureSpec:
    """A registered figure, or a custom one: `package.module:SPEC`. Raises InputError if there is none."""
    if ":" not in name:
        return FIGURES[name]
    found = imported(name, "Figure", "name of a FigureSpec")
    require(isinstance(found, FigureSpec), f"Figure {name!r} is a {type(found).__name__}, not a FigureSpec.")
    return found
