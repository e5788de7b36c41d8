"""What Figures 4 and 5 share: how their four panels are drawn from the table of measures/contours.py."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from lthpaper.figures.style import PAGE, paper_style, percent
from lthpaper.measures.contours import WITHIN, grids, numbers
from lthpaper.runs.experiments import PANELS
from lthpaper.runs.scales import Scale

PATH, OFF = "#D55E00", "#7F2A00"  # orange stands out on every shade of cividis


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """Four panels, shared levels: contours of the loss, and the way from θ0 ⊙ m to θT of seed 0."""
    first = measured[measured["seed"] == measured["seed"].min()]
    levels = _levels(first)
    summary = numbers(measured)
    with paper_style(), plt.rc_context({"axes.grid": False}):
        fig, axes = plt.subplots(2, 2, figsize=(PAGE, 6.6), layout="constrained")
        for ax, ((setting, lr), letter) in zip(axes.flat, PANELS.items(), strict=True):
            rows = first[(first["setting"] == setting) & (first["lr"] == lr)]
            accuracy = rows["accuracy"].iloc[0] if len(rows) else np.nan
            ax.set_title(f"({letter}) {setting[3:]}, lr {lr:g}, accuracy {accuracy:.1f} %")
            shown = [_panel(ax, *part, levels) for part in grids(rows)]
            if not shown:
                ax.set_title(f"({letter}) {setting[3:]}, lr {lr:g}")
                ax.text(0.5, 0.5, "not trained yet, or diverged", ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
            else:
                of_panel = summary[(summary["setting"] == setting) & (summary["lr"] == lr)]
                ax.set_xlabel(f"{ax.get_xlabel()}\n{_note(of_panel)}")
                filled = shown[0]
        if len(summary):
            bar = fig.colorbar(filled, ax=axes, shrink=0.7, aspect=35, label="training loss (nats)")
            bar.set_ticks(levels[::4].tolist(), labels=_distinct(levels[::4]))
            bar.minorticks_off()
            _describe(fig, measured)
    return fig


def _levels(measured: pd.DataFrame) -> np.ndarray:
    """Twenty equal factors, from the smallest loss drawn to half as much again as a trajectory's largest."""
    drawn = measured["loss"].dropna()
    passed = measured.loc[measured["kind"] == "trajectory", "loss"].dropna()
    if drawn.empty:
        return np.geomspace(0.1, 10, 21)
    low = max(float(drawn.min()), 1e-2)
    high = min(float(drawn.max()), 1.5 * float(passed.max()))
    return np.geomspace(low, max(high, 1.01 * low), 21)


def _distinct(values: np.ndarray) -> list[str]:
    """The values with three significant digits, or as many more as tell them apart."""
    for digits in range(3, 8):
        labels = [f"{v:#.{digits}g}".rstrip(".") for v in values]
        if len(set(labels)) == len(labels):
            break
    return labels


def _panel(
    ax: Axes, rows: pd.DataFrame, x: np.ndarray, y: np.ndarray, loss: np.ndarray, levels: np.ndarray
) -> QuadContourSet:
    capped = np.where(np.isfinite(loss), loss, levels[-1] * 10)
    norm = LogNorm(levels[0], levels[-1])
    filled = ax.contourf(x, y, capped, levels=levels, norm=norm, cmap="cividis", extend="both")
    marked = levels[::2]
    colours = ["white" if i < len(marked) / 2 else "black" for i in range(len(marked))]  # on dark, on light
    lines = ax.contour(x, y, capped, marked, colors=colours, linewidths=0.4, alpha=0.8)
    labels = dict(zip(levels[::4], _distinct(levels[::4]), strict=True))
    ax.clabel(lines, levels[::4], fmt=labels, fontsize=5.5)
    path = rows[rows["kind"] == "trajectory"].sort_values("epoch")
    discs = [Circle((r.x, r.y), r.off_plane) for r in path.itertuples()]
    ax.add_collection(PatchCollection(discs, facecolor="none", edgecolor=OFF, linewidth=0.5, alpha=0.8))
    ax.plot(path["x"], path["y"], "-o", color=PATH, markersize=2.5, linewidth=1.2)
    ends = path.iloc[[0, -1]]
    for (_, end), marker, size in zip(ends.iterrows(), ("s", "*"), (5, 10), strict=True):
        ax.plot(end["x"], end["y"], marker, color=PATH, markeredgecolor="white", markersize=size)
    ax.set(aspect="equal", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set_xlabel(f"PC 1 ({100 * rows['explained_x'].iloc[0]:.1f} % of variance)")
    ax.set_ylabel(f"PC 2 ({100 * rows['explained_y'].iloc[0]:.1f} %)")
    return filled


def _note(summary: pd.DataFrame) -> str:
    mean = summary[["basin", "roughness", "non_convexity"]].mean()
    return (
        f"basin {100 * mean['basin']:.0f} %, roughness {mean['roughness']:.2f}, "
        f"non-convex {100 * mean['non_convexity']:.0f} %"
    )


def _describe(fig: Figure, measured: pd.DataFrame) -> None:
    row = measured[measured["kind"] == "trajectory"].iloc[0]
    seeds = measured["seed"].nunique()
    fig.suptitle(
        f"{row['network']} on {row['data']}, sparsity {percent(row['sparsity'])}: loss on "
        f"{row['images']:.0f} training images\nbasin: area within {WITHIN:g} nats of the minimum"
        + (f"; numbers are means of {seeds} seeds, contours seed {row['seed']}" if seeds > 1 else ""),
        fontsize=8,
    )
    look: dict[str, Any] = {"color": PATH, "markeredgecolor": "white"}
    marks = [
        Line2D([], [], marker="s", linestyle="", markersize=5, label="start, θ0 ⊙ m", **look),
        Line2D([], [], marker="*", linestyle="", markersize=10, label="end, θT", **look),
        Line2D([], [], marker="o", markersize=2.5, color=PATH, label="snapshots, projected"),
        Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=OFF,
            label="radius: distance off the plane",
        ),
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=4)
