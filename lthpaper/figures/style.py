"""How figures look: one colour and marker a setting (Okabe and Ito's, safe for colour-blind readers)."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

COLUMN, PAGE = 3.4, 7.0  # inches: width of a paper's column and of its page

COLOURS = {
    "pretraining": "#000000",
    "LT-IMP": "#0072B2",
    "RR-IMP": "#D55E00",
    "LT-OMP": "#56B4E9",
    "RR-OMP": "#E69F00",
    "SDT": "#009E73",
    "WR-IMP": "#CC79A7",
    "WR-OMP": "#7F4A6B",
    "FT-IMP": "#999933",
    "FT-OMP": "#666666",
}
MARKERS = {
    "pretraining": "D",
    "LT-IMP": "o",
    "RR-IMP": "s",
    "LT-OMP": "^",
    "RR-OMP": "v",
    "SDT": "X",
    "WR-IMP": "P",
    "WR-OMP": "p",
    "FT-IMP": "<",
    "FT-OMP": ">",
}

RC = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """matplotlib as the paper-width figures want it; what was set before comes back."""
    with mpl.rc_context(RC):
        yield


def spread(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean, standard deviation over seeds (ddof 1; NaN for one seed) and n of accuracy, by a column."""
    groups = table.groupby(by)["accuracy"]
    return pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "n": groups.count()}).reset_index()


def curve(ax: Axes, table: pd.DataFrame, x: str, setting: str, shift: float = 1.0, **style: object) -> Axes:
    """Mean accuracy of one setting against column x, bars of one standard deviation over seeds.

    shift: factor on x, so that bars of several settings stand beside each other on a log axis.
    """
    data = spread(table[table["setting"] == setting], x).dropna(subset="mean")
    look = {"color": COLOURS[setting], "marker": MARKERS[setting], "label": setting} | style
    ax.errorbar(data[x] * shift, data["mean"], yerr=data["std"].fillna(0), capsize=2, elinewidth=0.8, **look)
    return ax


def seeds_note(table: pd.DataFrame) -> str:
    """What the error bars are, with n."""
    n = table.groupby(["setting", "lr", "sparsity", "epochs", "network", "data"])["accuracy"].count()
    low, high = int(n.min()), int(n.max())
    count = f"{high}" if low == high else f"{low}–{high}"
    return "one seed" if high <= 1 else f"mean ± standard deviation of {count} seeds"


def percent(sparsity: float) -> str:
    """s as the text writes it: 0.59, 0.832, 0.914."""
    return f"{sparsity:.3f}".rstrip("0")
