"""Stability: the error barrier between siblings against the epoch that they part at (Frankle 2020)."""

from itertools import cycle, islice
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lthpaper import data
from lthpaper.figures import FigureSpec, register
from lthpaper.figures.means import NOTHING, plus_minus
from lthpaper.figures.style import PAGE, PALE, SIMILAR, paper_style, rate_colours
from lthpaper.measures import stability
from lthpaper.measures.stability import STABLE
from lthpaper.runs import siblings
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.verdicts.evidence import span

trials = siblings.of_scale  # LT-IMP is not drawn, but judged beside the siblings
SHAPES = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*"]  # of rates, which rise in one hue
PARTS = {"test": "test", "train": "training"}  # column -> which error


def measure(found: list[Trial], store: Store, scale: Scale, data_root: str | Path | None) -> pd.DataFrame:
    """The barriers of the pairs that the store has (stability.BARRIERS); it keeps those it works out."""
    return stability.barriers(found, store, lambda: data.load(scale.data, data_root, *scale.task.division))


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Mean barrier, bars over all seeds; one line per learning rate. A barrier is never below zero, and is
    skewed where it is small: a standard deviation would reach below."""
    with paper_style():
        fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), sharex=True, sharey=True)
        for letter, ax, (part, error) in zip("ab", axes, PARTS.items(), strict=True):
            _panel(ax, table, part)
            ax.set_title(f"({letter}) {error} error")
            ax.set(xlabel="epoch $k$ at which the siblings part", ylabel="")
        axes[0].set_ylabel("error barrier (points)")
        marks: list[Artist] = [
            Line2D([], [], color=colour, marker=shape, markersize=4, label=f"{lr:g}")
            for (lr, colour), shape in zip(rate_colours(table["lr"]).items(), cycle(SHAPES), strict=False)
        ]
        marks.append(Patch(color=SIMILAR, label=f"mean below {STABLE:g} points: stable"))
        fig.legend(handles=marks, title="initial learning rate", loc="outside lower center", ncols=len(marks))
        fig.suptitle(_note(table, scale), fontsize=6.5)
    return fig


def _panel(ax: Axes, table: pd.DataFrame, part: str) -> None:
    """The barriers of one error, against the epochs in even steps."""
    import seaborn as sns

    if table.empty:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center", color=PALE)
        ax.set(xticks=[], yticks=[])
        return
    colours = rate_colours(table["lr"])
    sns.pointplot(
        table,
        x="k",
        y=part,
        hue="lr",
        hue_order=list(colours),
        palette=list(colours.values()),
        markers=list(islice(cycle(SHAPES), len(colours))),
        errorbar=("pi", 100),  # from the least to the greatest
        capsize=0.08,
        err_kws={"linewidth": 0.7},
        dodge=0.25 * (len(colours) > 1),  # seaborn divides by the rates less one
        linewidth=1.0,
        markersize=3.5,
        markeredgewidth=0.3,
        legend=False,
        ax=ax,
    )
    ax.axhspan(0, STABLE, color=SIMILAR, linewidth=0, zorder=0)


def _note(table: pd.DataFrame, scale: Scale) -> str:
    about = f"{scale.network} on {scale.data}"
    if table.empty:
        return f"{about}: {NOTHING}"
    n = table.groupby(["lr", "k"]).size()
    several = f"mean of {span(n)} seeds, bars from the least to the greatest"
    words = several if n.max() > 1 else "one pair of siblings"
    return f"{about}, {table['epochs'].max()} epochs, {words}"


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows: learning rates; columns: epochs k. Barrier of the test error, mean ± standard deviation."""
    if table.empty:
        return pd.DataFrame()
    cells = table.groupby(["lr", "k"])["test"].agg(["mean", "std"]).dropna(subset="mean").reset_index()
    cells["written"] = [f"{m:.1f}{plus_minus(s)}" for m, s in zip(cells["mean"], cells["std"], strict=True)]
    wide = cells.pivot_table(index="lr", columns="k", values="written", aggfunc="first")
    return wide.rename(index=lambda lr: f"{lr:g}", columns=lambda k: f"k = {k}").fillna("–")


register(
    "stability",
    FigureSpec(
        "Error barriers between siblings",
        trials,
        plot,
        keep=stability.keep,
        tabulate=tabulate,
        measure=measure,
        measurement=stability.MEASUREMENT,
        is_measured=stability.is_measured,
        says=lambda table, scale: stability.seen(table).splitlines(),
    ),
)
