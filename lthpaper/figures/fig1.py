"""Figure 1: pretraining, LT-IMP and RR-IMP at three learning rates, sufficient and insufficient epochs."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import (
    COLOURS,
    MARKERS,
    PAGE,
    crosses,
    diverged_note,
    paper_style,
    percent,
    seeds_note,
    spread,
)
from lthpaper.runs.recipe import epochs_said
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, sanity_check

SETTINGS = ("pretraining", "LT-IMP", "RR-IMP")


def trials(scale: Scale, rounds: Iterable[int] | None = None) -> list[Trial]:
    """Both recipes at Figure 1's learning rates; `rounds`: the scale's three lowest unless given."""
    return [
        trial
        for recipe in (scale.recipe, scale.insufficient_recipe)
        for trial in sanity_check(
            scale.task, recipe, scale.learning_rates, tuple(rounds or scale.panels), scale.seeds, SETTINGS
        )
    ]


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One panel a sparsity; learning rates side by side, filled: sufficient, open: insufficient epochs."""
    sparsities = sorted(s for s in table["sparsity"].unique() if s > 0)
    with paper_style():
        fig, axes = plt.subplots(
            1, len(sparsities), figsize=(PAGE, 2.5), sharey=True, squeeze=False, layout="constrained"
        )
        for letter, ax, s in zip("abcdefghijklmnop", axes[0], sparsities, strict=False):
            _panel(ax, table[table["sparsity"].isin((0.0, s))])
            ax.set_title(f"({letter}) sparsity {percent(s)}")
            ax.set_xlabel("initial learning rate")
        axes[0][0].set_ylabel("test accuracy (%)")
        fig.legend(handles=_legend(table), loc="outside lower center", ncols=5)
        fig.suptitle(
            f"{table['network'].iloc[0]} on {table['data'].iloc[0]}, {seeds_note(table)}"
            f"{diverged_note(table)}",
            fontsize=8,
        )
    return fig


def _panel(ax: Axes, table: pd.DataFrame) -> Axes:
    rates = sorted(table["lr"].unique())
    place = {lr: i for i, lr in enumerate(rates)}
    epochs = sorted(table["epochs"].unique(), reverse=True)
    shown = [(e, setting) for e in epochs for setting in SETTINGS]
    offsets = np.linspace(-0.32, 0.32, len(shown))
    for offset, (e, setting) in zip(offsets, shown, strict=True):
        cells = spread(table[(table["setting"] == setting) & (table["epochs"] == e)], "lr")
        data = cells.dropna(subset="mean")
        crosses(ax, [place[lr] + offset for lr in cells.loc[cells["diverged"], "lr"]], setting)
        ax.errorbar(
            [place[lr] + offset for lr in data["lr"]],
            data["mean"],
            yerr=data["std"].fillna(0),
            fmt=MARKERS[setting],
            color=COLOURS[setting],
            markerfacecolor=COLOURS[setting] if e == epochs[0] else "white",
            capsize=2,
            elinewidth=0.8,
        )
    for i in range(1, len(rates)):
        ax.axvline(i - 0.5, color="#bbbbbb", linewidth=0.6)
    ax.set_xticks(range(len(rates)), [f"{lr:g}" for lr in rates])
    ax.set_xlim(-0.5, len(rates) - 0.5)
    ax.grid(axis="x", visible=False)
    return ax


def _legend(table: pd.DataFrame) -> list[Line2D]:
    marks = [Line2D([], [], color=COLOURS[s], marker=MARKERS[s], linestyle="", label=s) for s in SETTINGS]
    for i, e in enumerate(sorted(table["epochs"].unique(), reverse=True)):
        fill = "#777777" if i == 0 else "white"
        marks.append(
            Line2D(
                [], [], color="#777777", markerfacecolor=fill, marker="o", linestyle="", label=epochs_said(e)
            )
        )
    return marks


register(
    "fig1", FigureSpec("Preliminary results: three learning rates, two lengths of training", trials, plot)
)
