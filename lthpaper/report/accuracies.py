"""Accuracies to read: one row per place in the figure, one column per setting, mean ± deviation."""

import pandas as pd

from lthpaper.figures.means import plus_minus
from lthpaper.report.readable import readable
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.cells import trained

PLACE = ("network", "data", "epochs", "rewind", "lr", "sparsity")


def accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """Percent, over seeds; pretraining stands beside every sparsity. What does not vary is left out.

    results: store.table.COLUMNS. A cell says of how many seeds it is where others are of more, and which
    part of them diverged, or have their masks from runs that did: mean and deviation are of the others.
    """
    ran = results[trained(results)]
    place = [name for name in PLACE if ran[name].nunique(dropna=False) > 1 or name in ("lr", "sparsity")]
    without = [name for name in place if name != "sparsity"]
    dense = ran[ran["setting"] == "pretraining"].drop(columns="sparsity")
    others = ran[ran["setting"] != "pretraining"]
    beside = others[place].drop_duplicates().merge(dense, on=without, suffixes=("", " of pretraining"))
    rows = pd.concat([others, beside]) if len(others) else ran
    if rows.empty:
        return pd.DataFrame()
    groups = rows.groupby([*place, "setting"], dropna=False)["accuracy"]
    most = groups.size().max()
    cells = groups.agg(lambda values: _said(values, most)).unstack("setting")
    order = [name for name in SETTINGS if name in cells] + [name for name in cells if name not in SETTINGS]
    return readable(cells[order])


def _said(values: pd.Series, most: int) -> str:
    """A cell: "93.6 ± 0.4", or "93.6 ± 0.4 (1 of 3 diverged)". most: seeds of the fullest cell."""
    n, there = len(values), values.dropna()
    lost = f"{n - len(there)} of {n} diverged" if len(there) < n else ""
    if there.empty:
        return lost
    note = lost or (f"n = {n}" if n < most else "")
    return f"{there.mean():.1f}{plus_minus(there.std(ddof=1))}" + (f" ({note})" if note else "")
