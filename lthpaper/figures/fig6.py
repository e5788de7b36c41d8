"""Figure 6: do a trained network's large weights lie where θ0's did? R_p against learning rate.

θT is the pretrained network's (the figure's caption: "weights in subnetwork and pretrained network"),
m the mask of IMP at s = 0.832, and θ0′ an independent draw.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import COLOURS, CROSS, MARKERS, PAGE, crosses, paper_style, percent, spread
from lthpaper.measures.overlaps import MAIN, PAIRS, SHARES, WITHIN, measure
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale

trials = experiments.correlations
LOOKS = dict(zip(PAIRS, ("LT-IMP", "RR-IMP"), strict=True))  # the settings that start from these weights


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """A row a network: R_p against learning rate with the chance band, for each p, and by layer."""
    names = list(measured["network"].unique())
    with paper_style():
        fig, axes = plt.subplots(
            len(names),
            len(SHARES) + 1,
            figsize=(PAGE, 2.2 * len(names) + 0.5),
            squeeze=False,
            layout="constrained",
            width_ratios=[1] * len(SHARES) + [1.5],
        )
        for row, (line, name) in enumerate(zip(axes, names, strict=True)):
            of_network = measured[measured["network"] == name]
            for ax, p in zip(line, SHARES, strict=False):
                against_rate(ax, of_network[(of_network["pooled"] == WITHIN) & (of_network["p"] == p)], p)
                ax.set_title(f"({'abcdefgh'[row * 4 + SHARES.index(p)]}) p = {p:g}")
            line[0].set_ylabel(f"{name}: R_p")
            lost = of_network.loc[_diverged(of_network), "lr"]
            by_layer = of_network[(of_network["layer"].notna()) & (of_network["p"] == MAIN)]
            by_layer = by_layer[~by_layer["lr"].isin(lost)]
            _by_layer(fig, line[-1], by_layer[by_layer["pair"] == PAIRS[0]])
            line[-1].set_title(f"({'abcdefgh'[row * 4 + 3]}) by layer, p = {MAIN:g}")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=4)
        seeds = measured["seed"].nunique()
        note = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
        if _diverged(measured).any():
            note += f"; {CROSS}"
        fig.suptitle(
            "Do θ0 ⊙ m and the pretrained θT ⊙ m agree which weights of a layer are large?\n"
            f"{measured['data'].iloc[0]}, s = {percent(measured['sparsity'].iloc[0])}, {note}",
            fontsize=8,
        )
    return fig


def _diverged(measured: pd.DataFrame) -> pd.Series:
    """The rows of runs that are there, but of which there is no R_p."""
    return measured["survivors"].notna() & measured["overlap"].isna()


def against_rate(ax: Axes, table: pd.DataFrame, p: float) -> Axes:
    """Both pairs of weights and the band of chance. table: of one network and p, pooled within layers."""
    for pair, setting in LOOKS.items():
        there = table[(table["pair"] == pair) & table["survivors"].notna()]
        cells = spread(there, "lr", "overlap")
        shown = cells.dropna(subset="mean")
        look = {"color": COLOURS[setting], "marker": MARKERS[setting]}
        ax.errorbar(
            shown["lr"], shown["mean"], yerr=shown["std"].fillna(0), capsize=2, elinewidth=0.8, **look
        )
        crosses(ax, cells.loc[cells["diverged"], "lr"], setting)
    band = table.dropna(subset="low").groupby("lr")[["low", "high"]].mean()
    ax.fill_between(band.index, band["low"], band["high"], color="#bbbbbb", alpha=0.5, linewidth=0)
    ax.axhline(p, color="#777777", linewidth=0.8, linestyle="--")
    if len(there):  # an empty axis cannot be logarithmic
        ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylim(0, max(0.5, *ax.get_ylim()))
    return ax


def _by_layer(fig: Figure, ax: Axes, table: pd.DataFrame) -> Axes:
    square = table.pivot_table(index="depth", columns="lr", values="overlap")
    ax.grid(visible=False)
    if square.empty:
        ax.text(0.5, 0.5, "not trained yet, or diverged", ha="center", transform=ax.transAxes)
        return ax
    norm = TwoSlopeNorm(MAIN, 0, max(1.0, np.nanmax(square.to_numpy())))
    shown = ax.imshow(square, aspect="auto", cmap="PuOr_r", norm=norm, interpolation="nearest")
    ax.set_xticks(range(square.shape[1]), [f"{lr:g}" for lr in square.columns], rotation=60)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("prunable layer")
    fig.colorbar(shown, ax=ax, label="R_p(θ0 ⊙ m, θT ⊙ m)", ticks=[0, MAIN, 0.5, 1])
    return ax


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], color=COLOURS[s], marker=MARKERS[s], label=f"R_p({pair.replace(',', ' ⊙ m,')} ⊙ m)")
        for pair, s in LOOKS.items()
    ]
    return [
        *marks,
        Line2D([], [], color="#777777", linestyle="--", linewidth=0.8, label="p"),
        Line2D([], [], color="#bbbbbb", linewidth=6, alpha=0.5, label="95 % of chance"),
    ]


register(
    "fig6",
    FigureSpec("Where large weights lie, before and after training (R_p)", trials, plot, measure=measure),
)
