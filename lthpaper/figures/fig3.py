"""Figure 3: accuracy against learning rate, a curve a setting, a panel an experiment, tickets marked."""

from collections.abc import Sequence
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import (
    COLOURS,
    CROSS,
    MARKERS,
    PAGE,
    curve,
    paper_style,
    percent,
    seeds_note,
    spread,
)
from lthpaper.paper import Thresholds
from lthpaper.runs.experiments import sanity_checks
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import SETTINGS
from lthpaper.runs.task import Task
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.tickets import EITHER, JACKPOT, KINDS, NONE, SECONDARY, Verdict, verdict

trials = sanity_checks

TICKETS = {SECONDARY: "#228833", EITHER: "#228833", JACKPOT: "#AA3377"}  # the paper's box is green
SURE, BY_MEANS = 0.45, 0.18  # opacity
SIMILAR, PALE = "#ececec", "#777777"
SHORT, LONG = (0, (1.2, 1.2)), (0, (3.5, 1.5))
DASHES = {"RR-IMP": LONG, "RR-OMP": LONG, "SDT": SHORT}
SQUASHED, LEAST = 1.75, 3.0  # y range: times the settings' bests' own range; at least so many points


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """A grid of panels, four abreast at most; the sparsity of an experiment is the last in the table."""
    parts = experiments(table, scale)
    across = len(parts) if len(parts) <= 4 else 3 if len(parts) in (5, 6, 9) else 4
    down = -(-len(parts) // across)
    with paper_style():
        height = 0.75 + (1.75 if across > 2 else 2.1) * down
        fig, axes = plt.subplots(down, across, figsize=(PAGE, height), squeeze=False, layout="constrained")
        for i, ax in enumerate(axes.flat):
            if i >= len(parts):
                ax.set_axis_off()
                continue
            network, data, rows = parts[i]
            panel(ax, rows[rows["sparsity"].isin((0.0, rows["sparsity"].max()))], f"{network} · {data}")
        finish(fig, axes, table)
    return fig


class HasTasks(Protocol):
    """A scale, or whatever else has networks and data sets to show in order."""

    @property
    def tasks(self) -> tuple[Task, ...]: ...


def experiments(table: pd.DataFrame, scale: HasTasks) -> list[tuple[str, str, pd.DataFrame]]:
    """(network, data, rows), in the scale's order, then whatever else the table has."""
    groups = dict(list(table.groupby(["network", "data"], sort=False)))
    order = [(t.network, t.data) for t in scale.tasks]
    keys = [k for k in order if k in groups] + [k for k in groups if k not in order]
    return [(*key, groups[key]) for key in keys]


def panel(ax: Axes, rows: pd.DataFrame, title: str, thresholds: Thresholds | None = None) -> Axes:
    """Curves, clipped points, the band that is similar to the best pretraining, boxes round tickets.

    rows: tidy, of one network, data set and sparsity, pretraining included. thresholds: of the verdicts
    and the band, the paper's for the data set unless given.
    """
    sparsity = rows["sparsity"].max()
    ran = rows[trained(rows)]
    prunings = [p for p in ("IMP", "OMP") if f"LT-{p}" in set(rows["setting"])]
    found = [verdict(rows, thresholds, p) for p in prunings]
    label, colour = _label(found, rows)
    ax.set_title(f"{title}\n$s$ = {percent(sparsity)}", fontsize=7, pad=11)
    said = ax.text(0.5, 1.02, label, transform=ax.transAxes, ha="center", va="bottom", fontsize=6.5)
    said.set(color=colour, in_layout=False)
    _learning_rates(ax, sorted(rows["lr"].unique()))
    cells = spread(ran, ["setting", "lr"])
    if cells["mean"].notna().sum() == 0:
        ax.set_yticks([])
        what = "not run" if ran.empty else "every run diverged"
        ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center", color=PALE)
        return ax
    low, high = _range(cells)
    ax.set_ylim(low - 0.05 * (high - low), high + 0.06 * (high - low))
    dense = cells.loc[cells["setting"] == "pretraining", "mean"].max()
    if found and np.isfinite(dense):
        ax.axhspan(dense - found[0].thresholds.similar, dense, color=SIMILAR, linewidth=0, zorder=0)
    for setting, shift in zip(SETTINGS, 1.05 ** np.linspace(-1, 1, len(SETTINGS)), strict=True):
        look = {"markersize": 2.6, "linewidth": 0.9, "linestyle": DASHES.get(setting, "-")}
        curve(ax, ran, "lr", setting, shift, **look)
        _outside(ax, cells[cells["setting"] == setting], low, shift)
    for v in found:
        _ticket(ax, v, cells, low)
    return ax


def finish(fig: Figure, axes: np.ndarray, table: pd.DataFrame) -> None:
    """Axis labels, the legend and what the marks mean. axes: (rows, columns), row by row."""
    for column in axes.T:
        [ax for ax in column if ax.axison][-1].set_xlabel("initial learning rate")
    for ax in axes[:, 0]:
        ax.set_ylabel("test accuracy (%)")
    have = table[table["accuracy"].notna()]
    note = seeds_note(have) if len(have) else "nothing has run yet"
    note += f"; {table['epochs'].max()} epochs; open triangle at the foot: below the range; {CROSS}"
    note += "\npale, with a question mark: by the means, and the seeds do not settle it"
    note += unfinished(table)
    fig.suptitle(note, fontsize=7)
    marks: list[Line2D | Patch] = [
        Line2D(
            [], [], color=COLOURS[s], marker=MARKERS[s], linestyle=DASHES.get(s, "-"), label=s, markersize=3
        )
        for s in SETTINGS
    ]
    marks.append(Patch(color=SIMILAR, label="similar to the best pretraining"))
    for kind in (SECONDARY, JACKPOT):
        marks.append(Patch(color=TICKETS[kind], alpha=SURE, linewidth=0, label=f"{kind} ticket"))
    fig.legend(handles=marks, loc="outside lower center", ncols=3, columnspacing=1.6, handlelength=2.2)


def unfinished(table: pd.DataFrame) -> str:
    """How many runs are missing, if only some are."""
    ran = trained(table)
    return "" if ran.all() or not ran.any() else f"; {(~ran).sum():,} of {len(ran):,} runs are still missing"


def _range(cells: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest accuracy shown: the bests of all settings, and some way down from them."""
    bests = cells.groupby("setting")["mean"].max().dropna()
    high = float((cells["mean"] + cells["std"].fillna(0)).max())
    lowest = float(cells["mean"].min())
    room = max(SQUASHED * float(high - bests.min()), LEAST)
    floor = high - room
    return (lowest if lowest >= floor - 0.2 * room else floor), max(high, lowest + 1e-6)


def _outside(ax: Axes, cells: pd.DataFrame, low: float, shift: float) -> None:
    """Triangles at the foot for learning rates whose mean is below the range."""
    below = cells[cells["mean"] < low]
    if len(below):
        where: dict[str, Any] = {
            "transform": ax.get_xaxis_transform(),
            "linestyle": "",
            "clip_on": False,
            "zorder": 5,
        }
        look: dict[str, Any] = {
            "color": COLOURS[below["setting"].iloc[0]],
            "markerfacecolor": "white",
            "markersize": 3.2,
        }
        x = below["lr"].to_numpy(float) * shift
        ax.plot(x, np.full(len(x), 0.01), marker="v", linestyle="", markeredgewidth=0.8, **look, **where)


def _ticket(ax: Axes, v: Verdict, cells: pd.DataFrame, low: float) -> None:
    """A broad stroke along LT where the ticket is: where it also beats every RR, if it does both."""
    if v.kind not in TICKETS:
        return
    lt = cells[(cells["setting"] == f"LT-{v.pruning}") & (cells["mean"] >= low)].set_index("lr")["mean"]
    lrs = sorted((set(v.lrs) & set(v[3].lrs)) or set(v.lrs))
    look: dict[str, Any] = {
        "color": TICKETS[v.kind],
        "alpha": SURE if v.kind_ours == v.kind else BY_MEANS,
        "zorder": 1,
    }
    for run in neighbours([lr for lr in lrs if lr in lt.index], sorted(cells["lr"].unique())):
        ends = [run[0] / 1.12, *run, run[-1] * 1.12]  # a single learning rate is a stroke too
        heights = [lt[run[0]], *lt[run], lt[run[-1]]]
        ax.plot(ends, heights, linewidth=9, solid_capstyle="round", solid_joinstyle="round", **look)


def neighbours(lrs: Sequence[float], grid: Sequence[float]) -> list[list[float]]:
    """Runs of learning rates that are next to each other in the grid."""
    runs: list[list[float]] = []
    for lr in lrs:
        if runs and grid.index(lr) == grid.index(runs[-1][-1]) + 1:
            runs[-1].append(lr)
        else:
            runs.append([lr])
    return runs


def _label(found: Sequence[Verdict], rows: pd.DataFrame) -> tuple[str, str]:
    """What the verdicts say, in a few words, and its colour."""
    tickets: dict[str, list[str]] = {}
    for v in found:
        if v.kind in TICKETS:
            tickets.setdefault(v.kind, []).append(f"{v.pruning}{'?' * (v.kind_ours != v.kind)}")
    if tickets:
        best = max(tickets, key=KINDS.index)
        text = "; ".join(f"{kind}: {', '.join(masks)}" for kind, masks in tickets.items())
        return (text if len(tickets) == 1 else text.replace(" prize", "")), TICKETS[best]
    if {v.kind_ours for v in found} == {NONE}:
        return "no ticket", PALE
    ran = trained(rows)
    if not ran.all():
        return ("not all has run" if ran.any() else ""), PALE
    return ("no ticket?" if {v.kind for v in found} == {NONE} else "undecided"), PALE


def _learning_rates(ax: Axes, lrs: Sequence[float]) -> None:
    """A tick a learning rate of the grid; labels at powers of ten if there are two of them."""
    ax.set_xscale("log")
    decades = [lr for lr in lrs if abs(np.log10(lr) - round(np.log10(lr))) < 1e-9]
    labelled = decades if len(decades) >= 2 else lrs
    ax.set_xticks(labelled, [f"{lr:g}" for lr in labelled])
    ax.set_xticks([lr for lr in lrs if lr not in labelled], [], minor=True)
    ax.set_xlim(min(lrs) / 1.4, max(lrs) * 1.4)


register(
    "fig3", FigureSpec("Accuracy against learning rate, a panel an experiment, tickets marked", trials, plot)
)
