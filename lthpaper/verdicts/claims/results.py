"""What claims are judged on: a scale's results, as far as the store holds them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from lthpaper.paper import Thresholds, thresholds
from lthpaper.runs import experiments, settings
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.verdicts import cells
from lthpaper.verdicts.relations import Part, relate, rows
from lthpaper.verdicts.tickets import Verdict, verdicts

NOTHING = pd.DataFrame()


@dataclass(frozen=True)
class Results:
    """table: store.table.COLUMNS, of any figures' runs; a run that the store lacks is NaN or absent.
    overlaps: R_p, correlation.py's table. contours: numbers of loss surfaces, measures.contours' table.
    barriers: measures.stability's table.
    """

    scale: Scale
    table: pd.DataFrame
    overlaps: pd.DataFrame = field(default_factory=lambda: NOTHING)
    contours: pd.DataFrame = field(default_factory=lambda: NOTHING)
    barriers: pd.DataFrame = field(default_factory=lambda: NOTHING)

    @cached_property
    def checked(self) -> pd.DataFrame:
        """The rows that verdicts use: mask and subnetwork trained at one learning rate; each run once."""
        return cells.checked(self.table)

    @property
    def limits(self) -> Thresholds:
        """Of the scale's one data set."""
        return thresholds(self.scale.data)

    def network(self, epochs: int, sparsity: float | None = None) -> pd.DataFrame:
        """The rows of the scale's one network and data set, not rewound."""
        return rows(self.checked, sparsity, **self.about(epochs))

    def experiment(self, network: str, data: str, sparsity: float | None = None) -> pd.DataFrame:
        """The rows of the sanity check of a network and data set, trained with the sufficient recipe over the
        scale's grid: Figure 1's learning rates may lie beside it."""
        about = {"network": network, "data": data, "epochs": self.scale.recipe_for(data).epochs}
        grid = tuple(self.scale.grid_for(data))
        return rows(self.checked, sparsity, setting=settings.SETTINGS, lr=grid, **about)

    def about(self, epochs: int, sparsity: float | None = None, **more: Any) -> dict[str, Any]:
        """What a part says about the scale's one network."""
        named = {"network": self.scale.network, "data": self.scale.data, "epochs": epochs}
        return named | ({} if sparsity is None else {"sparsity": sparsity}) | more

    def compare(
        self,
        ours: str,
        relation: str,
        theirs: str,
        margin: float,
        sparsity: float,
        lrs: tuple[float, ...] | None = None,
        label: str = "",
        epochs: int = 0,
    ) -> Part:
        """Two settings of the scale's one network, each at its best of some learning rates.

        lrs: all that both were planned at, unless given. epochs: the sufficient recipe's, unless given.
        """
        epochs = epochs or self.scale.recipe.epochs
        table = rows(self.network(epochs, sparsity), setting=(ours, theirs))
        if lrs is None:
            planned = [set(found["lr"]) for _, found in table.groupby("setting")]
            lrs = tuple(sorted(set.intersection(*planned))) if planned else ()
        about = self.about(epochs, sparsity, **({"lr": lrs[0]} if len(lrs) == 1 else {}))
        left, right = (cells.side(table, setting, lrs=lrs) for setting in (ours, theirs))
        return relate(left, relation, right, margin, about, label)

    def experiments(self) -> list[tuple[str, str]]:
        """(network, data) of the many-network figures that have any results."""
        there = self.table.dropna(subset="accuracy")
        have = set(zip(there["network"], there["data"], strict=True))
        wanted = [(task.network, task.data) for task in self.scale.tasks]
        return [pair for pair in dict.fromkeys(wanted) if pair in have]

    def planned(self, figure: str) -> list[Trial]:
        """The runs that a figure shows at this scale, trained or not."""
        return experiments.trials(figure, self.scale)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of every experiment, pruning and non-trivial sparsity of the scale that has any results. Other
        figures have a few runs at sparsities of their own, which nobody plans to complete."""
        found: list[Verdict] = []
        for network, data in self.experiments():
            for s in self.sparsities(network, data):
                table = self.experiment(network, data, s)
                if (table["setting"] != "pretraining").any():
                    found += list(verdicts(table)["verdict"])
        return found

    def sparsities(self, network: str, data: str) -> tuple[float, ...]:
        """The scale's non-trivial ones for an experiment (§2.2 ①)."""
        shown = (settings.imp_sparsity(k) for k in self.scale.rounds_for(network, data))
        return tuple(s for s in shown if s > thresholds(data).sparsity)
