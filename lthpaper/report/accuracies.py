"""Accuracies to read: one row per place in the figure, one column per setting, mean ± deviation."""

import pandas as pd

from lthpaper.figures.means import accuracy_said
from lthpaper.report.readable import readable
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.cells import trained

PLACE = ("network", "data", "epochs", "rewind", "pretraining_lr", "lr", "sparsity")
OF_SUBNETWORKS = ("pretraining_lr", "sparsity")  # pretraining stands beside any of these


def accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """Percent, over seeds; pretraining stands beside every sparsity. What does not vary is left out.

    results: store.table.COLUMNS. A cell says of how many seeds it is where others are of more, and which
    part of them diverged, or have their masks from runs that did: mean and deviation are of the others.
    """
    ran = results[trained(results)]
    ran = ran.assign(pretraining_lr=ran["pretraining_lr"].fillna(ran["lr"]))
    varies = {name: ran[name].nunique(dropna=False) > 1 for name in PLACE} | {"lr": True, "sparsity": True}
    varies["pretraining_lr"] = (ran["pretraining_lr"] != ran["lr"]).any()  # as in Table 4
    place = [name for name in PLACE if varies[name]]
    without = [name for name in place if name not in OF_SUBNETWORKS]
    dense = ran[ran["setting"] == "pretraining"].drop(columns=list(OF_SUBNETWORKS))
    others = ran[ran["setting"] != "pretraining"]
    beside = others[place].drop_duplicates().merge(dense, on=without, suffixes=("", " of pretraining"))
    rows = pd.concat([others, beside]) if len(others) else ran
    if rows.empty:
        return pd.DataFrame()
    groups = rows.groupby([*place, "setting"], dropna=False)["accuracy"]
    most = groups.size().max()
    cells = groups.agg(lambda values: accuracy_said(values, most)).unstack("setting")
    order = [name for name in SETTINGS if name in cells] + [name for name in cells if name not in SETTINGS]
    return readable(cells[order])
