"""Appendix A: Figure 1 over all sparsities."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, differences, fig1, register
from lthpaper.figures.axes import accuracy_axis, sparsity_axis
from lthpaper.figures.curves import curves, epochs_fill, level
from lthpaper.figures.style import PAGE, letters, paper_style
from lthpaper.paper import thresholds
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import imp_sparsity

trials = experiments.all_rounds
DIAMOND: dict[str, Any] = {"marker": "D", "markevery": [0], "clip_on": False, "zorder": 3}
OPEN = {"markerfacecolor": "white", "markeredgewidth": 0.8}
BESIDE = 1.03  # factor on density, from a round to the marks of either length of training


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One column per learning rate, with its own range: accuracy against sparsity, pretraining's as a level
    line; below, LT less RR with its interval, in one range."""
    rates = sorted(table["lr"].unique())
    shown = [imp_sparsity(k) for k in scale.rounds]
    # equal steps for equal factors of density: every round is as wide as every other
    table = table.assign(density=1 / (1 - table["sparsity"]))
    with paper_style():
        fig, axes = plt.subplots(
            *(2, len(rates)), figsize=(PAGE, 3.6), sharex="col", squeeze=False, height_ratios=(1.6, 1)
        )
        planned = table.loc[table["sparsity"] > 0, "density"]  # the same range whatever has run
        gap = thresholds(table["data"].iloc[0]).gap
        every = differences.between(
            table[table["sparsity"] > 0], "LT-IMP", "RR-IMP", ["density", "lr", "epochs"]
        )
        for letter, (top, below), lr in zip(letters(), axes.T, rates, strict=False):
            of_rate = table[table["lr"] == lr]
            differences.frame(below, gap, every)
            lengths = epochs_fill(of_rate["epochs"].unique())
            for epochs, fill in lengths.items():
                rows, width = of_rate[of_rate["epochs"] == epochs], 1.0 if fill else 0.6
                pruned = rows[rows["sparsity"] > 0]
                level(top, rows, linewidth=width, **(DIAMOND if fill else DIAMOND | OPEN))
                shift = (1 / BESIDE if fill else BESIDE) if len(lengths) > 1 else 1.0
                curves(
                    top,
                    pruned.assign(density=shift * pruned["density"]),
                    "density",
                    fig1.SETTINGS[1:],
                    1.02,
                    not fill,
                    caps=False,
                    linewidth=width,
                )
                found = differences.between(pruned, "LT-IMP", "RR-IMP", ["density"]).set_index("density")
                found = found.reindex(sorted(pruned["density"].unique())).reset_index()  # lines break at NaN
                differences.draw(below, shift * found["density"], found, "LT-IMP", hollow=not fill, line="-")
            if limits := fig1.accuracy_limits(of_rate):
                accuracy_axis(top, *limits)
            for q in fig1.quotes(of_rate):
                fig1.star(top, 1 / (1 - q.sparsity) if q.sparsity else of_rate["density"].max(), q)
            for ax in (top, below):
                sparsity_axis(ax, of_rate["sparsity"], shown)
            top.set_xlim(planned.min() / 1.1, planned.max() * 1.1)
            top.set(title=f"({letter}) learning rate {lr:g}", xlabel="", ylabel="")
            below.set_xlabel("sparsity (by IMP round)")
        fig1.finish(fig, axes, table, level=True)
    return fig


register("appendix-a", FigureSpec("Figure 1 over all sparsities", trials, plot))
