"""Appendix A: Figure 1 over all sparsities."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, fig1, register
from lthpaper.figures.style import COLOURS, PAGE, curve, diverged_note, level, paper_style, seeds_note
from lthpaper.runs.recipe import epochs_said
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial

LINES = ("-", (0, (3, 1.5)))  # sufficient, insufficient epochs


def trials(scale: Scale) -> list[Trial]:
    """Every IMP round up to that of Figure 1's last panel."""
    return fig1.trials(scale, range(1, max(scale.panels) + 1))


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One panel a learning rate; accuracy against sparsity, the pretraining's as a level line."""
    rates = sorted(table["lr"].unique())
    epochs = sorted(table["epochs"].unique(), reverse=True)
    with paper_style():
        fig, axes = plt.subplots(
            1, len(rates), figsize=(PAGE, 2.6), sharey=True, squeeze=False, layout="constrained"
        )
        for letter, ax, lr in zip("abcdefghijklmnop", axes[0], rates, strict=False):
            for e, line in zip(epochs, LINES, strict=False):
                part = table[(table["lr"] == lr) & (table["epochs"] == e)]
                level(ax, part, linestyle=line)
                fill = None if e == epochs[0] else "white"
                for setting in ("LT-IMP", "RR-IMP"):
                    # equal steps for equal factors of density: every round is as wide as every other
                    data = part.assign(density=1 / (1 - part["sparsity"]))
                    look = {} if fill is None else {"markerfacecolor": fill}
                    curve(ax, data, "density", setting, linestyle=line, **look)
            shown = sorted(s for s in table["sparsity"].unique() if s > 0)
            ticks = shown[:: max(1, len(shown) // 5)]
            ax.set_xscale("log")
            ax.set_xticks([1 / (1 - s) for s in ticks], [f"{s:.2f}" for s in ticks])
            ax.minorticks_off()
            ax.set_title(f"({letter}) learning rate {lr:g}")
            ax.set_xlabel("sparsity (IMP rounds evenly spaced)")
        axes[0][0].set_ylabel("test accuracy (%)")
        marks = [Line2D([], [], color=COLOURS[s], label=s) for s in fig1.SETTINGS]
        marks += [
            Line2D([], [], color="#777777", linestyle=line, label=epochs_said(e))
            for e, line in zip(epochs, LINES, strict=False)
        ]
        fig.legend(handles=marks, loc="outside lower center", ncols=5)
        fig.suptitle(
            f"{table['network'].iloc[0]} on {table['data'].iloc[0]}, {seeds_note(table)}"
            f"{diverged_note(table)}",
            fontsize=8,
        )
    return fig


register("appendix-a", FigureSpec("Figure 1 over all sparsities", trials, plot))
