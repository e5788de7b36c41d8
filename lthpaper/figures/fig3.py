"""Figure 3: accuracy against learning rate, one panel per experiment, one curve per setting, with tickets."""

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, register, sanity_panels
from lthpaper.figures.style import as_written, paper_style
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale

trials = experiments.sanity_checks


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One panel per experiment, at the highest sparsity that the table has of it."""
    parts = sanity_panels.experiments(table, scale)
    across = len(parts) if len(parts) <= 3 else 3 if len(parts) in (5, 6, 9) else 4
    with paper_style():
        fig, panels = sanity_panels.grid(-(-len(parts) // across), across)
        for (ax, strip), (network, data, rows) in zip(panels.reshape(-1, 2), parts, strict=False):
            s = rows["sparsity"].max()
            shown = rows[rows["sparsity"].isin((0.0, s))]  # pretraining is dense
            sanity_panels.panel(ax, strip, shown, f"{network} · {data}, $s$ = {as_written(s)}")
        sanity_panels.finish(fig, panels, table)
    return fig


register(
    "fig3",
    FigureSpec("Accuracy against learning rate, one panel per experiment, tickets marked", trials, plot),
)
