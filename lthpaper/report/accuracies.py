"""Accuracies to read: one row per place in the figure, one column per setting, mean ± deviation."""

import pandas as pd

from lthpaper.figures.means import plus_minus
from lthpaper.report.readable import readable
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.cells import trained

PLACE = ("network", "data", "epochs", "rewind", "lr", "sparsity")


def accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """Percent, over seeds; pretraining stands beside every sparsity. What does not vary is left out.

    results: store.table.COLUMNS. "†": a seed diverged, or has its mask from a run that did.
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
    cells = rows.groupby([*place, "setting"], dropna=False)["accuracy"].agg(_said).unstack("setting")
    order = [name for name in SETTINGS if name in cells] + [name for name in cells if name not in SETTINGS]
    return readable(cells[order])


def _said(values: pd.Series) -> str:
    lost = "†" if values.isna().any() else ""
    if not values.notna().any():
        return lost
    return f"{values.mean():.1f}{plus_minus(values.std(ddof=1))}{lost}"
