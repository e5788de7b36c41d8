"""How figures look: one colour and marker a setting (Okabe and Ito's, safe for colour-blind readers)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Transform

from lthpaper.verdicts.cells import trained

COLUMN, PAGE = 3.4, 7.0  # inches: width of a paper's column and of its page
CROSS = "×: a seed diverged"

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

RC: dict[Any, Any] = {
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


def spread(table: pd.DataFrame, by: str | Sequence[str], value: str = "accuracy") -> pd.DataFrame:
    """One row a group: mean, std over seeds (ddof 1; NaN for one seed), n, and whether a seed diverged.

    A group with a diverged seed has a NaN mean and std, as verdicts rule it out: those that survived are
    not what the setting reaches. A run that is not trained yet counts for nothing.
    """
    keys = [by] if isinstance(by, str) else list(by)
    lost = (trained(table) & table[value].isna()).groupby([table[key] for key in keys]).any()
    groups = table.groupby(keys)[value]
    found = pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "n": groups.count()})
    found["diverged"] = lost.astype(bool)
    found.loc[found["diverged"], ["mean", "std"]] = math.nan
    return found.reset_index()


def crosses(ax: Axes, x: Iterable[float], setting: str, transform: Transform | None = None) -> None:
    """× at the foot of the panel where a seed of a setting diverged. x: data, unless `transform` says."""
    x = list(x)
    if x:
        where: dict[str, Any] = {
            "transform": transform or ax.get_xaxis_transform(),
            "clip_on": False,
            "zorder": 5,
        }
        look: dict[str, Any] = {
            "color": COLOURS[setting],
            "marker": "x",
            "markersize": 3.2,
            "markeredgewidth": 0.8,
        }
        ax.plot(x, [0.01] * len(x), linestyle="", **look, **where)


def level(ax: Axes, table: pd.DataFrame, setting: str = "pretraining", **style: Any) -> None:
    """A level line at the mean accuracy of a setting's rows (of one learning rate); × if a seed diverged."""
    for cell in spread(table[table["setting"] == setting], "lr").itertuples():
        if cell.diverged:
            crosses(ax, [0.015], setting, ax.transAxes)
        elif math.isfinite(cell.mean):
            look: dict[str, Any] = {"color": COLOURS[setting], "linewidth": 1} | style
            ax.axhline(cell.mean, **look)


def curve(ax: Axes, table: pd.DataFrame, x: str, setting: str, shift: float = 1.0, **style: Any) -> Axes:
    """Mean accuracy of one setting against column x, bars of one standard deviation over seeds; × where a
    seed diverged.

    shift: factor on x, so that bars of several settings stand beside each other on a log axis.
    """
    cells = spread(table[table["setting"] == setting], x)
    data = cells.dropna(subset="mean")
    look = {"color": COLOURS[setting], "marker": MARKERS[setting], "label": setting} | style
    ax.errorbar(data[x] * shift, data["mean"], yerr=data["std"].fillna(0), capsize=2, elinewidth=0.8, **look)
    crosses(ax, cells.loc[cells["diverged"], x] * shift, setting)
    return ax


def seeds_note(table: pd.DataFrame) -> str:
    """What the error bars are, with n."""
    cells = spread(table, ["setting", "lr", "sparsity", "epochs", "network", "data"])
    n = cells.loc[~cells["diverged"], "n"]
    low, high = (int(n.min()), int(n.max())) if len(n) else (0, 0)
    count = f"{high}" if low == high else f"{low}–{high}"
    return "one seed" if high <= 1 else f"mean ± standard deviation of {count} seeds"


def diverged_note(table: pd.DataFrame) -> str:
    """What × means, if there is one."""
    return f"; {CROSS}" if (trained(table) & table["accuracy"].isna()).any() else ""


def percent(sparsity: float) -> str:
    """s as the text writes it: 0.59, 0.832, 0.914."""
    return f"{sparsity:.3f}".rstrip("0")
