"""Where each mark lies in a picture, and which runs it is the mean of: a page links marks to runs."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

PLACE = ("network", "data", "epochs", "setting", "rewind", "pretraining_lr", "lr", "sparsity")
DIGITS = 8  # of a mean in percent: below it is rounding


def marks(fig: Figure, table: pd.DataFrame) -> list[tuple[float, float, str]]:
    """(x, y, digest) of each mark whose height is the mean accuracy of some runs of the table, one of which
    the digest names. x, y: from the picture's left and upper edge, as shares of its size.

    A mean that runs of several places share is left out: the height does not tell which it is. The figure
    has been drawn, so its layout stands.
    """
    means = _means(table)
    if not means:
        return []
    found = {}
    for ax in fig.axes:
        for x, y in _drawn(ax):
            digest = means.get(round(float(y), DIGITS), "")
            if digest and np.isfinite(x):
                right, up = fig.transFigure.inverted().transform(ax.transData.transform((x, y)))
                found[round(float(right), 4), round(1 - float(up), 4)] = digest
    return [(x, y, digest) for (x, y), digest in found.items() if 0 <= x <= 1 and 0 <= y <= 1]


def _means(table: pd.DataFrame) -> dict[float, str]:
    """Mean accuracy -> a run of it; "" where several places have that mean."""
    if not {"accuracy", "digest", "setting"} <= set(table.columns):
        return {}
    place = [name for name in PLACE if name in table.columns]
    runs = table[table["accuracy"].notna()].drop_duplicates([*place, "digest"])
    found: dict[float, str] = {}
    for _, rows in runs.groupby(place, dropna=False):
        mean = round(float(rows["accuracy"].mean()), DIGITS)
        found[mean] = "" if mean in found else str(rows["digest"].iloc[0])
    return found


def _drawn(ax: Axes) -> Iterator[tuple[float, float]]:
    """The data coordinates of every mark."""
    for line in ax.get_lines():
        if line.get_marker() not in ("", "None", None) and line.get_transform() == ax.transData:
            yield from zip(*map(np.atleast_1d, line.get_data(orig=False)), strict=True)
    for marks in ax.collections:
        if isinstance(marks, PathCollection):
            yield from np.ma.filled(np.ma.asarray(marks.get_offsets(), dtype=float), np.nan)
