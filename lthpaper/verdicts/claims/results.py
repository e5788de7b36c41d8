"""What claims are judged on: a scale's results, as far as the store holds them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from lthpaper.paper import thresholds
from lthpaper.runs import experiments, settings
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.verdicts import cells
from lthpaper.verdicts.claims.outcome import LEVEL
from lthpaper.verdicts.claims.relations import rows
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

    def of(self, sparsity: float | None = None, **where: Any) -> pd.DataFrame:
        """Rows with these values, mask and subnetwork trained at one learning rate; each run once."""
        return rows(self.checked, sparsity, **where)

    @cached_property
    def checked(self) -> pd.DataFrame:
        """The rows of the table that verdicts use."""
        return cells.checked(self.table)

    def network(self, epochs: int, sparsity: float | None = None) -> pd.DataFrame:
        """The rows of the scale's one network and data set, not rewound."""
        return self.of(sparsity, network=self.scale.network, data=self.scale.data, epochs=epochs)

    def experiment(self, network: str, data: str, sparsity: float | None = None) -> pd.DataFrame:
        """The rows of the sanity check of a network and data set, trained with the sufficient recipe."""
        epochs = self.scale.recipe_for(data).epochs
        return self.of(sparsity, network=network, data=data, epochs=epochs, setting=settings.SETTINGS)

    def about(self, epochs: int, sparsity: float | None = None, **more: Any) -> dict[str, Any]:
        """What a part says about the scale's one network."""
        named = {"network": self.scale.network, "data": self.scale.data, "epochs": epochs}
        return named | ({} if sparsity is None else {"sparsity": sparsity}) | more

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
        """Of every experiment, non-trivial sparsity and pruning that has any results."""
        found: list[Verdict] = []
        for network, data in self.experiments():
            table = self.experiment(network, data)
            if (table["setting"] != "pretraining").any():
                found += list(verdicts(table, level=LEVEL)["verdict"])
        return [v for v in found if v.sparsity > thresholds(v.data).sparsity]

    def sparsities(self, network: str, data: str) -> tuple[float, ...]:
        """The scale's non-trivial ones for an experiment (§2.2 ①)."""
        shown = (settings.imp_sparsity(k) for k in self.scale.rounds_for(network, data))
        return tuple(s for s in shown if s > thresholds(data).sparsity)


def union(trials: Iterable[Sequence[Trial]]) -> list[Trial]:
    """Trials of several claims, each once."""
    found = {(t.setting, t.sparsity, t.run.digest): t for some in trials for t in some}
    return list(found.values())
