"""From the tidy table to what a verdict compares: the cells of each setting, and what is missing.

A row without an accuracy is a diverged run, unless its `fingerprint` is empty: then it was not trained
yet, and counts as missing. A learning rate at which any seed diverged is out for that setting: a
failure is no accuracy, and whatever stood for it in a mean (chance, 0) would make pretraining there
easy to match. Where the seeds that converged would change an answer, it is not called (conditions.py).
Rows whose mask came from another learning rate (Table 4) are left out: ④ compares at one.

Where the table has accuracies on validation images, the best learning rate of a setting is the one that is
best on these, and what counts is its accuracy on the test images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lthpaper.errors import require
from lthpaper.measures.intervals import grain_of
from lthpaper.runs.convergence import converged
from lthpaper.training.result import VALIDATION
from lthpaper.verdicts.uncertainty import Cell

NEEDED = ("setting", "network", "data", "epochs", "lr", "sparsity", "seed", "accuracy")
SAME_DENSITY = 0.03  # 0.914 and 1 − 0.8^11 are one sparsity; IMP rounds differ by 20 % of the density


@dataclass(frozen=True)
class Side:
    """One or more settings. cells: whose seeds all converged. diverged, missing: (setting, lr). validation:
    each cell's mean accuracy on images held out, percent; () where none were, or not for every cell.
    torn: the seeds that converged of cells of which others diverged. seeds: of the cell that has most.
    """

    name: str
    cells: tuple[Cell, ...]
    diverged: tuple[tuple[str, float], ...]
    missing: tuple[tuple[str, float], ...]
    validation: tuple[float, ...] = ()
    torn: tuple[Cell, ...] = ()
    seeds: int = 0

    @property
    def best(self) -> Cell:
        """The cell that is best on validation images; on the test images, as in the paper, where there are
        none. Raises ValueError without cells."""
        rank = self.validation or [c.mean for c in self.cells]
        return self.cells[max(range(len(self.cells)), key=rank.__getitem__)]

    @property
    def ran(self) -> bool:
        return bool(self.cells or self.diverged)

    @property
    def edge(self) -> tuple[str, float] | None:
        """Its best (setting, learning rate) if the grid ends there: a wider one may have a better.
        A neighbour that diverged is no end."""
        rates = {lr for _, lr in (*self.missing, *self.diverged)} | {c.lr for c in self.cells}
        if not self.cells or len(rates) < 2:
            return None
        return self.best.place if self.best.lr in (min(rates), max(rates)) else None


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a verdict uses. Raises InputError for missing columns and impossible accuracies."""
    lacking = [c for c in NEEDED if c not in table.columns]
    require(not lacking, f"The table has no column {', '.join(lacking)}; it needs {', '.join(NEEDED)}.")
    for name in ("lr", "seed"):
        empty = int(table[name].isna().sum())
        require(
            not empty,
            f"Column {name} is empty in {empty} row{'s' * (empty != 1)}; a verdict needs it of every run.",
        )
    accuracy = table["accuracy"].dropna()
    ours = "digest" in table  # a store's are percent, though chance among 200 classes is below 1
    require(
        bool(accuracy.between(0, 100).all()) and (ours or accuracy.empty or accuracy.max() > 1),
        "Accuracies are percent, from 0 to 100; the table's are not. Multiply fractions by 100.",
    )
    if "pretraining_lr" in table:
        mixed = table["pretraining_lr"].notna() & (table["pretraining_lr"] != table["lr"])
        table = table[~mixed]
    if "digest" in table:  # figures share runs
        table = table.drop_duplicates(["setting", "sparsity", "digest"])
    return table


def trained(table: pd.DataFrame) -> pd.Series:
    """Which rows have a result: a diverged run has no accuracy, but the fingerprint of its data."""
    if "fingerprint" not in table:
        return pd.Series(True, index=table.index)
    return table["accuracy"].notna() | (table["fingerprint"].fillna("") != "")


def unconverged(table: pd.DataFrame) -> dict[float, float]:
    """Learning rate -> the part of its training loss that is left, where pretraining has not converged in the
    mean over seeds (lthpaper.runs.convergence). Empty where the table does not say."""
    if not {"loss_left", "loss_falling"} <= set(table.columns):
        return {}
    rows = table[(table["setting"] == "pretraining") & table["loss_left"].notna()]
    means = rows.groupby("lr")[["loss_left", "loss_falling"]].mean()
    found = {float(lr): (left, falling) for lr, left, falling in means.itertuples()}
    return {lr: left for lr, (left, falling) in found.items() if not converged(left, falling)}


def by_sparsity(table: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
    """(sparsity, its rows with pretraining's) in rising order; 0.914 and 0.9141 are one."""
    pretraining = table["setting"] == "pretraining"
    groups: list[list[float]] = []
    for s in sorted(table.loc[~pretraining, "sparsity"].dropna().unique()):
        if groups and (1 - s) >= (1 - groups[-1][0]) * (1 - SAME_DENSITY):
            groups[-1].append(s)
        else:
            groups.append([s])
    return [(float(g[0]), table[pretraining | table["sparsity"].isin(g)]) for g in groups]


def one_experiment(table: pd.DataFrame) -> None:
    """Raises InputError unless the table is about one network, data, length and sparsity."""
    require(len(table) > 0, "The table has no rows: nothing was run, so there is nothing to judge.")
    for column in ("network", "data", "epochs"):
        values = sorted(table[column].unique())
        require(
            len(values) == 1,
            f"The table holds several values of {column} ({', '.join(map(str, values))}); "
            "a verdict is about one. Restrict the table, or use verdicts().",
        )
    sparsities = [s for s, _ in by_sparsity(table)]
    require(
        len(sparsities) <= 1,
        f"The table holds several sparsities ({', '.join(f'{s:.3f}' for s in sparsities)}); "
        "a verdict is about one. Restrict the table, or use verdicts().",
    )


def side(table: pd.DataFrame, *settings: str, lrs: Sequence[float] | None = None, name: str = "") -> Side:
    """The cells of some settings, and what is missing of them, at some learning rates or all of the table's.
    Raises InputError where one seed of a cell has two different runs."""
    cells, diverged, missing, torn = [], [], [], []
    validation: list[float] = []
    grain = grain_of(table)
    grid = set(table["lr"] if lrs is None else lrs)
    if lrs is not None:
        table = table[table["lr"].isin(lrs)]
    found = _by_setting(table[table["setting"].isin(settings)])
    for setting in settings:
        by_lr = found.get(setting, {})
        for lr, seeds in sorted(by_lr.items()):
            reached = {n: a for n, (a, _) in seeds.items() if not math.isnan(a)}
            cell = Cell(setting, lr, tuple(reached.values()), tuple(reached), grain) if reached else None
            if len(reached) < len(seeds):
                diverged.append((setting, lr))
                torn += [cell] if cell else []
            elif cell:
                cells.append(cell)
                validation.append(float(np.mean([held_out for _, held_out in seeds.values()])))
        missing += [(setting, float(lr)) for lr in sorted(grid - set(by_lr))]
    ranked = () if any(map(math.isnan, validation)) else tuple(validation)
    most = max((len(seeds) for by_lr in found.values() for seeds in by_lr.values()), default=0)
    name = name or " or ".join(settings)
    return Side(name, tuple(cells), tuple(diverged), tuple(missing), ranked, tuple(torn), most)


def pairs_of(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The cells of both sides at the same learning rate, as pairs, with the seeds that both have."""
    return [(a.common_with(b), b.common_with(a)) for a in ours for b in theirs if a.lr == b.lr]


def _by_setting(table: pd.DataFrame) -> dict[str, dict[float, dict[int, tuple[float, float]]]]:
    """Setting -> learning rate -> seed -> accuracy on test and on validation images (NaN: none held out).

    In Python, since pandas takes a millisecond for each of a thousand small selections.
    """
    there = table[trained(table)]
    if VALIDATION not in there:
        there = there.assign(**{VALIDATION: math.nan})
    found: dict[str, dict[float, dict[int, tuple[float, float]]]] = {}
    for setting, lr, seed, tested, held_out in zip(
        *(there[name] for name in ("setting", "lr", "seed", "accuracy", VALIDATION)), strict=True
    ):
        seeds = found.setdefault(setting, {}).setdefault(float(lr), {})
        require(
            seed not in seeds,
            f"{setting} has several runs of seed {seed} at learning rate {lr:g}; "
            "a verdict takes one. Restrict the table (rewinding: to one epoch; SDT: to one width).",
        )
        seeds[int(seed)] = (float(tested), float(held_out))
    return found
