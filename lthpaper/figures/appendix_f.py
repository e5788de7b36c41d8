"""Appendix F.1: Figure 3 at every sparsity of the scale."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, fig3, register
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.paper import Thresholds
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.verdicts.cells import by_sparsity


def trials(scale: Scale) -> list[Trial]:
    """Every setting over the whole grid at all of the scale's sparsities; Figure 3's runs are among them."""
    return [
        trial
        for task in scale.tasks
        for trial in fig3.checked(task, scale, scale.rounds_for(task.network, task.data))
    ]


def plot(table: pd.DataFrame, scale: Scale, thresholds: Thresholds | None = None) -> Figure:
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
