"""Figure 1: pretraining, LT-IMP and RR-IMP at three learning rates, sufficient and insufficient epochs."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, beyond, differences, register, style
from lthpaper.figures.axes import ACCURACY, accuracy_axis, places_axis
from lthpaper.figures.curves import Case, epochs_fill, offsets, points
from lthpaper.figures.means import diverged_note, in_lines, listed, seeds, seeds_note, spread, unfinished_note
from lthpaper.figures.style import COLOURS, PAGE, PALE, as_written, letters, paper_style
from lthpaper.paper import thresholds
from lthpaper.paper.quotes import QUOTES, Quote
from lthpaper.runs import experiments
from lthpaper.runs.recipe import epochs_said
from lthpaper.runs.scales import Scale
from lthpaper.verdicts.cells import trained

trials = experiments.preliminary
SETTINGS = experiments.PRELIMINARY
DODGE = 0.66  # of a learning rate's place, which is 1 wide
STAR: dict[str, Any] = {"marker": "*", "linestyle": "", "markerfacecolor": "none", "markersize": 7}


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One column per sparsity: above, accuracies; below, LT less RR with its interval. Filled: sufficient,
    open: insufficient epochs, where any has run; a star is what the paper states."""
    everything, table = table, begun(table)
    sparsities = sorted(s for s in table["sparsity"].unique() if s > 0)
    lengths = epochs_fill(table["epochs"].unique())
    cases = {
        case_of(s, e): Case(s, hollow=not lengths[e]) for e in sorted(lengths, reverse=True) for s in SETTINGS
    }
    with paper_style():
        fig, axes = plt.subplots(
            *(2, len(sparsities)), figsize=(PAGE, 3.6), sharey="row", squeeze=False, height_ratios=(1.6, 1)
        )
        limits = accuracy_limits(table)
        found = differences.between(
            table[table["sparsity"] > 0], "LT-IMP", "RR-IMP", ["sparsity", "lr", "epochs"]
        )
        for letter, (top, below), s in zip(letters(), axes.T, sparsities, strict=False):
            rows = table[table["sparsity"].isin((0.0, s))]
            rows = rows.assign(case=rows["setting"].combine(rows["epochs"], case_of))
            points(top, rows, "lr", cases, DODGE)
            stated(top, rows, cases)
            differences.frame(below, thresholds(rows["data"].iloc[0]).gap, found)  # one range for all panels
            gaps(below, rows, found[found["sparsity"] == s])
            top.set(title=f"({letter}) sparsity {as_written(s)}", xlabel="", ylabel="")
            below.set_xlabel("initial learning rate")
        if limits:
            accuracy_axis(axes[0][0], *limits)
        finish(fig, axes, everything)
    return fig


def begun(table: pd.DataFrame) -> pd.DataFrame:
    """The lengths of training of which a run is there; all of them where none is."""
    ran = table.loc[trained(table), "epochs"]
    return table[table["epochs"].isin(ran)] if len(ran) else table


def case_of(setting: str, epochs: int | None) -> str:
    """One mark of a learning rate: a setting trained for so many epochs."""
    return f"{setting}, {epochs} epochs"


def accuracy_limits(table: pd.DataFrame) -> tuple[float, float] | None:
    """Lowest and highest mean with its bar, and what the paper states of this network; None without any."""
    cells = spread(table, ["setting", "lr", "epochs", "sparsity"]).dropna(subset="mean")
    if cells.empty:
        return None
    bars, said = cells["std"].fillna(0), [q.accuracy for q in quotes(table)]
    return min([*(cells["mean"] - bars), *said]), max([*(cells["mean"] + bars), *said])


def quotes(table: pd.DataFrame) -> list[Quote]:
    """The accuracies that the text states of the table's network, data, epochs, rates and sparsities."""
    about = table.iloc[0]
    return [
        q
        for q in QUOTES
        if q.accuracy is not None
        and (q.network, q.data) == (about["network"], about["data"])
        and q.setting in SETTINGS
        and q.lr in set(table["lr"])
        and q.epochs in set(table["epochs"])
        and (table["sparsity"] - q.sparsity).abs().min() < 0.005
    ]


def stated(ax: Axes, rows: pd.DataFrame, cases: Mapping[str, Case]) -> None:
    """A star for each accuracy that the paper states of this panel."""
    rates, places = sorted(rows["lr"].unique()), offsets(cases, DODGE)
    for q in quotes(rows):
        x = rates.index(q.lr) + places[case_of(q.setting, q.epochs)]
        star(ax, x, q)


def star(ax: Axes, x: float, q: Quote) -> None:
    """What the paper states, at x."""
    assert q.accuracy is not None  # of `quotes`
    look: dict[str, Any] = {"markeredgewidth": 0.8, "zorder": 6, "clip_on": False}
    ax.plot([x], [q.accuracy], color=COLOURS[q.setting], **STAR, **look)


def gaps(ax: Axes, rows: pd.DataFrame, found: pd.DataFrame) -> None:
    """LT less RR at each learning rate. found: the panel's rows of `differences.between`."""
    rates = sorted(rows["lr"].unique())
    filled = epochs_fill(rows["epochs"].unique())
    places = offsets([f"{epochs}" for epochs in sorted(filled, reverse=True)], 0.3)
    for epochs in sorted(filled, reverse=True):
        of_length = found[found["epochs"] == epochs]
        x = [rates.index(lr) + places[f"{epochs}"] for lr in of_length["lr"]]
        differences.draw(ax, x, of_length, "LT-IMP", hollow=not filled[epochs])
    ax.set_xticks(range(len(rates)), [f"{lr:g}" for lr in rates])
    places_axis(ax, len(rates))


def finish(fig: Figure, axes: np.ndarray, table: pd.DataFrame, level: bool = False) -> None:
    """Labels, title and legend. level: pretraining is a line at its mean, without bars."""
    axes[0][0].set_ylabel(ACCURACY)
    axes[1][0].set_ylabel("LT − RR (points)")
    for ax in axes[0]:
        ax.tick_params(axis="x", labelbottom=False)
    of = " over the seeds that both have" if "–" in seeds(table) else ", seed by seed"
    leads = differences.between(
        table[table["sparsity"] > 0], "LT-IMP", "RR-IMP", ["sparsity", "lr", "epochs"]
    )
    known = leads["low"].notna().any()  # one seed has no bounds
    bounds = ", with 95 % intervals" * bool(known)
    parts = [
        f"{table['network'].iloc[0]} on {table['data'].iloc[0]}; above: {seeds_note(table)}",
        listed(f"below: LT − RR{of}{bounds}", beyond.note(fig)),
        listed(diverged_note(table), _missing(table)),
    ]
    fig.suptitle(in_lines(parts), fontsize=6.5)
    marks = legend(begun(table))
    if level:
        marks[0] = style.swatch("pretraining", label="pretraining (mean)")
    narrow: dict[str, Any] = {"columnspacing": 1.0, "handlelength": 1.5}
    fig.legend(handles=marks, loc="outside lower center", ncols=len(marks), **narrow)


def _missing(table: pd.DataFrame) -> str:
    """How many runs are missing, and the lengths of training that have no place in the figure for it."""
    without = sorted(set(table["epochs"]) - set(begun(table)["epochs"]))
    among = f", all of {' and '.join(map(epochs_said, without))} among them" if without else ""
    note = unfinished_note(table)
    return f"{note}{among}" if note else ""


def legend(table: pd.DataFrame) -> list[Line2D]:
    """One mark per setting, one fill per length of training, the clear gap; the paper's star if drawn."""
    marks = [style.swatch(s, linestyle="") for s in SETTINGS]
    for epochs, fill in sorted(epochs_fill(table["epochs"].unique()).items(), reverse=True):
        look: dict[str, Any] = {
            "color": PALE,
            "markerfacecolor": PALE if fill else "white",
            "marker": "o",
            "linestyle": "",
        }
        marks.append(Line2D([], [], label=epochs_said(epochs), **look))
    gap = thresholds(table["data"].iloc[0]).gap
    marks.append(
        Line2D([], [], color=PALE, linestyle=(0, (3, 2)), linewidth=0.7, label=f"clear gap, {gap:g}")
    )
    if quotes(table):
        marks.append(Line2D([], [], color=PALE, label="the paper", **STAR))
    return marks


register(
    "fig1", FigureSpec("Preliminary results: three learning rates, two lengths of training", trials, plot)
)
