"""Figure 6: do a trained network's large weights lie where θ0's did? R_p against learning rate.

θT is the pretrained network's (the figure's caption: "weights in subnetwork and pretrained network"),
m the mask of IMP at s = 0.832, and θ0′ an independent draw.
"""

from collections.abc import Iterable
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lthpaper.figures import FigureSpec, register, style
from lthpaper.figures.axes import rate_axis
from lthpaper.figures.curves import crosses, gaps, marked
from lthpaper.figures.means import CROSS, listed, spread_note
from lthpaper.figures.style import (
    COLOURS,
    MARKERS,
    MASKED,
    PAGE,
    PALE,
    R_P,
    THETA0,
    THETA0_NEW,
    THETA_T,
    as_written,
    paper_style,
)
from lthpaper.measures.overlaps import MAIN, MEASUREMENT, PAIRS, SHARES, WITHIN, is_measured, measure
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale

trials, keep = experiments.correlations, experiments.correlated
LOOKS = dict(zip(PAIRS, ("LT-IMP", "RR-IMP"), strict=True))  # the settings that start from these weights
CHANCE = "#D9D9D9"
DISTANCE = r"$\Vert\theta_T-\theta_0\Vert\,/\,\Vert\theta_0\Vert$"


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """One row per network: R_p against learning rate with the chance band, for each p, and by layer. Below,
    each run's R_p against the distance that training moved its weights."""
    names = list(measured["network"].unique())
    far = bool(measured["distance"].notna().any())
    with paper_style():
        fig = plt.figure(figsize=(PAGE, 1.0 + 1.6 * far + 1.75 * len(names)))
        grid = fig.add_gridspec(len(names) + far, len(SHARES) + 1, width_ratios=[1] * len(SHARES) + [1.25])
        letter = list(islice(style.letters(), len(names) * (len(SHARES) + 2)))
        last = grid[-1, :].subgridspec(1, len(names)).subplots(sharey=True, squeeze=False)[0] if far else []
        for row, name in enumerate(names):
            of_network = measured[measured["network"] == name]
            line: list[Axes] = []
            for p in SHARES:
                line.append(fig.add_subplot(grid[row, len(line)], sharey=line[0] if line else None))
                of_share = of_network[(of_network["pooled"] == WITHIN) & (of_network["p"] == p)]
                against_rate(line[-1], of_share, p, of_network["lr"])
                line[-1].set_title(f"({letter[row * (len(SHARES) + 1) + SHARES.index(p)]}) $p$ = {p:g}")
                line[-1].tick_params(labelleft=len(line) == 1)
                if p != MAIN:  # one label for the three
                    line[-1].set_xlabel("")
            line[0].set_ylabel(f"{name}: {R_P}")
            lost = of_network.loc[_diverged(of_network), "lr"]
            by_layer = of_network[(of_network["layer"].notna()) & (of_network["p"] == MAIN)]
            by_layer = by_layer[~by_layer["lr"].isin(lost)]
            heat = fig.add_subplot(grid[row, -1])
            _by_layer(fig, heat, by_layer[by_layer["pair"] == PAIRS[0]])
            heat.set_title(
                f"({letter[row * (len(SHARES) + 1) + len(SHARES)]}) {THETA0}, by layer, $p$ = {MAIN:g}"
            )
            if far:
                main = of_network[(of_network["pooled"] == WITHIN) & (of_network["p"] == MAIN)]
                there = against_distance(last[row], main)
                title = f"({letter[len(names) * (len(SHARES) + 1) + row]}) {name}: distance, {there}"
                last[row].set_title(title)
        for ax in last[1:]:
            ax.set_ylabel("")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=4)
        known = measured["overlap"].notna()
        lost = known & measured["distance"].isna()
        note = listed(
            spread_note(measured[known].groupby(["network", "lr"])["seed"].nunique()),
            CROSS if _diverged(measured).any() else "",
            _unfinished(measured),
            f"{DISTANCE} not measured: the weights are not in the store" if not far and known.any() else "",
            "distance: of the runs whose weights were kept" if far and lost.any() else "",
        )
        fig.suptitle(
            f"Do {THETA0} {MASKED} and the pretrained {THETA_T} {MASKED} agree which weights of a layer are "
            f"large? {measured['data'].iloc[0]}, $s$ = {as_written(measured['sparsity'].iloc[0])}\n{note}",
            fontsize=6.5,
        )
    return fig


def _diverged(measured: pd.DataFrame) -> pd.Series:
    """The rows of runs that are there, but of which there is no R_p."""
    return measured["survivors"].notna() & measured["overlap"].isna()


def _unfinished(measured: pd.DataFrame) -> str:
    """How many runs are not trained or not measured, if only some are."""
    without = measured.groupby("digest")["survivors"].count() == 0
    if 0 < without.mean() < 1:
        return f"{without.sum()} of {len(without)} runs have no {R_P} yet"
    return ""


def against_rate(ax: Axes, table: pd.DataFrame, p: float, rates: Iterable[float]) -> None:
    """Both pairs of weights and the band of chance. table: of one network and p, pooled within layers."""
    import seaborn as sns

    shown = table[table["overlap"].notna()]
    lost = {pair: set(of.loc[_diverged(of), "lr"]) for pair, of in table.groupby("pair")}
    shown = shown[[lr not in lost[pair] for pair, lr in zip(shown["pair"], shown["lr"], strict=True)]]
    for pair, setting in LOOKS.items():
        crosses(ax, sorted(lost.get(pair, ())), setting)
    before = len(ax.lines)
    if len(shown):
        sns.lineplot(
            shown,
            x="lr",
            y="overlap",
            hue="pair",
            style="pair",
            hue_order=PAIRS,
            style_order=PAIRS,
            palette={pair: COLOURS[s] for pair, s in LOOKS.items()},
            markers={pair: MARKERS[s] for pair, s in LOOKS.items()},
            dashes=False,
            errorbar="sd",
            err_style="bars",
            err_kws={"capsize": 1.5, "elinewidth": 0.7},
            legend=False,
            ax=ax,
        )
    for line in marked(ax.lines[before:]):
        gaps(line, np.unique(list(rates)))
    band = table.dropna(subset="low").groupby("lr")[["low", "high"]].mean()
    if len(band):
        ax.fill_between(band.index, band["low"], band["high"], color=CHANCE, linewidth=0, zorder=0)
    ax.axhline(p, color=PALE, linewidth=0.8, linestyle="--")
    rate_axis(ax, rates)
    ax.set(xlabel="initial learning rate", ylabel="", ylim=(0, 1), yticks=(0, 0.25, 0.5, 0.75, 1))


def against_distance(ax: Axes, table: pd.DataFrame) -> str:
    """One point per run: R_p(θ0, θT) against ‖θT − θ0‖ / ‖θ0‖, coloured by learning rate. Returns how many
    runs are shown: a distance that was never measured needs weights that are in the store.

    table: of one network and p, pooled within layers.
    """
    rows = table[(table["pair"] == PAIRS[0]) & table["overlap"].notna()]
    there = rows.dropna(subset="distance")
    colours = style.rate_colours(rows["lr"].unique())
    for lr, points in there.groupby("lr"):
        ax.plot(points["distance"], points["overlap"], "o", color=colours[lr], markersize=3, label=f"{lr:g}")
    ax.axhline(MAIN, color=PALE, linewidth=0.8, linestyle="--")
    ax.set(xlabel=DISTANCE, ylabel=f"{R_P}, $p$ = {MAIN:g}", ylim=(0, 1), yticks=(0, 0.25, 0.5, 0.75, 1))
    if len(there):
        ax.legend(title="initial learning rate", fontsize=6, title_fontsize=6, ncols=2, loc="upper right")
    return f"{len(there)} of {len(rows)} runs" if len(there) < len(rows) else f"{len(rows)} runs"


def _by_layer(fig: Figure, ax: Axes, table: pd.DataFrame) -> Axes:
    square = table.pivot_table(index="depth", columns="lr", values="overlap")
    ax.grid(visible=False)
    if square.empty:
        ax.text(0.5, 0.5, "not trained yet,\nor diverged", ha="center", va="center", transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        return ax
    shown = ax.imshow(square, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    named = table.drop_duplicates("depth").set_index("depth")["layer"].reindex(square.index)
    every = -(-len(named) // 14)
    ax.set_yticks(
        range(0, len(named), every), [n.removesuffix(".weight") for n in named[::every]], fontsize=6
    )
    ax.set_xticks(range(square.shape[1]), [f"{lr:g}" for lr in square.columns], rotation=90)
    ax.tick_params(length=0)
    ax.set_xlabel("initial learning rate")
    bar = fig.colorbar(shown, ax=ax, ticks=[0, MAIN, 0.5, 1], pad=0.02, aspect=14)
    bar.set_label(R_P)
    bar.ax.axhline(MAIN, color=PALE, linewidth=0.8, linestyle="--")  # chance
    return ax


def _legend() -> list[Line2D | Patch]:
    names = {PAIRS[0]: THETA0, PAIRS[1]: THETA0_NEW}
    marks: list[Line2D | Patch] = [
        style.swatch(s, linestyle="-", label=f"{R_P}({names[pair]} {MASKED}, {THETA_T} {MASKED})")
        for pair, s in LOOKS.items()
    ]
    dashed = Line2D([], [], color=PALE, linestyle="--", linewidth=0.8, label="$p$")
    return [*marks, dashed, Patch(color=CHANCE, label="chance: 95 % of draws")]


register(
    "fig6",
    FigureSpec(
        "Where large weights lie, before and after training (R_p)",
        trials,
        plot,
        keep,
        measure=measure,
        measurement=MEASUREMENT,
        is_measured=is_measured,
    ),
)
