"""What a notebook works with: one figure at one scale, from the plan to the picture."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lthpaper import locations
from lthpaper.figures import FigureSpec
from lthpaper.figures import figure as figure_named
from lthpaper.figures.publish import fingerprint_warning, publish, sources
from lthpaper.runs.scales import Scale, scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.sweep import simulate
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import Plan, plan
from lthpaper.verdicts import paper_beside_ours


class Study:
    """A figure at a scale.

        study = Study("fig1", "laptop", seeds=5)
        study.plan      # what is left to train, and its cost
        study.train()   # train it
        study.table     # one row a run
        study.draw()    # the figure, written to study.folder too

    Fields of the scale are given by name; 0, "" and [] mean: as the scale has it. Raises InputError for
    an unknown figure, scale, field or value before anything starts.
    """

    def __init__(
        self,
        figure: str,
        scale_name: str = "smoke",
        *,
        store: str = "",
        data_root: str = "",
        out: str = "",
        device: str = "",
        workers: int = 0,
        **fields: Any,
    ):
        self.name = figure.replace(":", "-")  # of files too
        self.spec: FigureSpec = figure_named(figure)
        self.scale: Scale = scale(scale_name, **{n: v for n, v in fields.items() if v not in (0, "", [], ())})
        self.store = Store(locations.store_folder(store), locations.published_folder())
        self.data_root = locations.data_folder(data_root)
        self.folder = locations.figures_folder(scale_name, out)
        self.device = locations.device(device)
        self.workers = workers or None

    @cached_property
    def trials(self) -> list[Trial]:
        """The runs that the figure shows, with their places in it."""
        return self.spec.trials(self.scale)

    @property
    def plan(self) -> Plan:
        """What the store still lacks for this figure."""
        return plan([trial.run for trial in self.trials], self.store, self.spec.keep(self.scale))

    def costs(self) -> pd.DataFrame:
        """The plan in numbers: runs, network-epochs, hours on this device, disk."""
        return costs(self.plan, self.device, self.workers)

    def train(self, quiet: bool = False) -> None:
        """Train what is missing, with a progress bar."""
        runs = [trial.run for trial in self.trials]
        keep = self.spec.keep(self.scale)
        where = (self.store, self.data_root, self.device, self.workers)
        execute(runs, *where, keep, quiet, curve_points=self.scale.curve_points)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy table that the figure draws."""
        return self.spec.measure(self.trials, self.store, self.scale, self.data_root)

    def draw(self) -> Figure:
        """The figure; PNG, PDF, table and provenance go to `folder`."""
        fig = self.spec.plot(self.table, self.scale)
        about = sources(self.name, self.scale, self.trials, self.store)
        if warning := fingerprint_warning(about):
            fig.text(0.01, 0.01, warning, fontsize=6, color="#D55E00")
        publish(fig, self.table, about, self.folder, self.tabulated)
        return fig

    @property
    def tabulated(self) -> pd.DataFrame | None:
        """The table as the paper prints it; None for a figure."""
        return self.spec.tabulate(self.table, self.scale) if self.spec.tabulate else None

    def paper_beside_ours(self, place: str) -> pd.DataFrame:
        """The paper's stated accuracies of a place ("Fig. 1") beside ours."""
        return paper_beside_ours.beside(self.table, self.scale, place)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the figure was drawn from."""
        return sources(self.name, self.scale, self.trials, self.store)


def costs(todo: Plan, device: str, workers: int | None = None) -> pd.DataFrame:
    """A plan in numbers, one column; what is in the store already costs nothing. device "": no time."""
    rows = {
        "runs": f"{len(todo.runs)}",
        "in the store": f"{len(todo.runs) - len(todo.todo)}",
        "to train": f"{len(todo.todo)}",
        "network-epochs": f"{todo.network_epochs:,}",
        "disk": f"{todo.disk / 1e6:,.1f} MB",
    }
    if device:
        seconds = simulate.here(todo, device, workers).makespan
        rows[f"predicted time on {device}"] = simulate.duration(seconds)
    return pd.DataFrame({"": rows})


def notebook_folder() -> Path:
    """The folder of notebooks of this project."""
    return locations.home() / "notebooks"
