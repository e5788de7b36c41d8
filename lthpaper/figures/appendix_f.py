"""Appendix F.1: Figure 3 at every sparsity of the scale."""

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, register, sanity_panels
from lthpaper.figures.style import as_written, paper_style
from lthpaper.paper import Thresholds
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.verdicts.cells import by_sparsity

trials = experiments.all_sparsities


def plot(table: pd.DataFrame, scale: Scale, thresholds: Thresholds | None = None) -> Figure:
    """One row per experiment (and two masks, if it has more) with one range of accuracies, one column per
    sparsity. thresholds: the paper's for each data set unless given."""
    parts = [
        (network, data, part)
        for network, data, rows in sanity_panels.experiments(table, scale)
        for part in sanity_panels.in_pairs(rows)
    ]
    among = sanity_panels.settings_of(table)
    across = max(len(by_sparsity(rows)) for *_, rows in parts)
    with paper_style():
        fig, panels = sanity_panels.grid(len(parts), across)
        for line, (network, data, rows) in zip(panels, parts, strict=True):
            limits = sanity_panels.accuracies(rows)
            for i, ((ax, strip), (s, of_one)) in enumerate(zip(line, by_sparsity(rows), strict=False)):
                title = (
                    f"{network} · {data}, $s$ = {as_written(s)}" if across < 3 else f"$s$ = {as_written(s)}"
                )
                if across >= 3 and i == 0:
                    title = f"{network} · {data}\n{title}"
                sanity_panels.panel(ax, strip, of_one, title, thresholds, limits, among)
                ax.tick_params(labelleft=i == 0)
        sanity_panels.finish(fig, panels, table)
    return fig


register("appendix-f", FigureSpec("Figure 3 at every sparsity", trials, plot))
