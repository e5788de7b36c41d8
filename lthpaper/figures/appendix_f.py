"""Appendix F.1: Figure 3 at every sparsity of the scale."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, fig3, register
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.paper import Thresholds
from lthpaper.runs import experiments
from lthpaper.verdicts.cells import by_sparsity

trials = experiments.all_sparsities


def plot(table: pd.DataFrame, scale: fig3.HasTasks, thresholds: Thresholds | None = None) -> Figure:
    """A row an experiment, a column a sparsity. thresholds: the paper's for each data set unless given."""
    parts = fig3.experiments(table, scale)
    across = max(len(by_sparsity(rows)) for *_, rows in parts)
    with paper_style():
        size = (max(PAGE, 1.75 * across), 0.75 + 1.75 * len(parts))
        fig, axes = plt.subplots(len(parts), across, figsize=size, squeeze=False, layout="constrained")
        for line, (network, data, rows) in zip(axes, parts, strict=True):
            panels = by_sparsity(rows)
            for i, ax in enumerate(line):
                if i < len(panels):
                    fig3.panel(ax, panels[i][1], f"{network} · {data}", thresholds)
                else:
                    ax.set_axis_off()
        fig3.finish(fig, axes, table)
    return fig


register("appendix-f", FigureSpec("Figure 3 at every sparsity", trials, plot))
