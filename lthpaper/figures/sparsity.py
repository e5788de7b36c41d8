"""Accuracy against sparsity: all settings, one panel per experiment and learning rate."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, register, sanity_panels, style
from lthpaper.figures.axes import ACCURACY, accuracy_axis, sparsity_axis
from lthpaper.figures.curves import curves, level
from lthpaper.figures.means import caption
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.cells import trained

trials = experiments.all_sparsities


ACROSS = 3  # panels abreast


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Means with standard deviations; pretraining is a level line. Each panel has its own range."""
    table = table.assign(density=1 / (1 - table["sparsity"]))
    on, about = (" on {}", "") if table["data"].nunique() > 1 else ("", f"{table['data'].iloc[0]}; ")
    panels = [
        (f"{network}{on.format(data)}, learning rate {lr:g}", rows[rows["lr"] == lr])
        for network, data, rows in sanity_panels.experiments(table, scale)
        for lr in sorted(rows["lr"].unique())
    ]
    down = -(-len(panels) // ACROSS)
    with paper_style():
        fig, axes = plt.subplots(down, ACROSS, figsize=(PAGE, 0.75 + 1.3 * down), squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(panels):
                ax.set_axis_off()
                continue
            title, rows = panels[i]
            there = rows[trained(rows)]
            level(ax, there)
            curves(ax, rows[rows["sparsity"] > 0], "density", SETTINGS[1:], apart=1.035)
            sparsity_axis(ax, rows["sparsity"])
            if limits := sanity_panels.accuracies(there):
                accuracy_axis(ax, *limits, ticks=5)
            ax.set(xlabel="sparsity" if i >= len(panels) - ACROSS else "", ylabel="")
            ax.set_title(title, fontsize=6.5)
        for ax in axes[:, 0]:
            ax.set_ylabel(ACCURACY)
        fig.align_ylabels(axes[:, 0])
        fig.suptitle(f"{about}{caption(table)}; each panel has its own range of accuracy", fontsize=6.5)
        marks = [
            style.swatch("pretraining", marker="", label="pretraining (mean)"),
            *(style.swatch(s) for s in SETTINGS[1:]),
        ]
        fig.legend(handles=marks, loc="outside lower center", ncols=6)
    return fig


register("sparsity", FigureSpec("Accuracy against sparsity at every learning rate", trials, plot))
