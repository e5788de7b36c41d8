"""Figure 3: accuracy against learning rate, a curve a setting, a panel an experiment, tickets marked."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from lthpaper.figures import FigureSpec, register, style
from lthpaper.figures.style import PAGE, PALE, SIMILAR, paper_style, percent, spread
from lthpaper.figures.verdict_marks import band, strips, words
from lthpaper.paper import Thresholds
from lthpaper.runs import experiments as of_paper
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.tickets import JACKPOT, SECONDARY, verdict

trials = of_paper.sanity_checks


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """A grid of panels, four abreast at most; the sparsity of an experiment is the last in the table."""
    parts = experiments(table, scale)
    across = len(parts) if len(parts) <= 3 else 3 if len(parts) in (5, 6, 9) else 4
    rows = [parts[i : i + across] for i in range(0, len(parts), across)]
    with paper_style():
        fig, panels = grid(len(rows), across)
        for line, shown in zip(panels, rows, strict=True):
            for (ax, strip), (network, data, of_task) in zip(line, shown, strict=False):
                last = of_task[of_task["sparsity"].isin((0.0, of_task["sparsity"].max()))]
                panel(ax, strip, last, f"{network} · {data}, $s$ = {percent(last['sparsity'].max())}")
        finish(fig, panels, table)
    return fig


def panel(
    ax: Axes,
    strip: Axes,
    rows: pd.DataFrame,
    title: str,
    thresholds: Thresholds | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Curves, the band that is similar to the best pretraining, tickets; below, where ③ to ⑤ hold.

    rows: tidy, of one network, data set and sparsity, pretraining included. thresholds: of the verdicts
    and the band, the paper's for the data set unless given. limits: of the accuracies shown.
    """
    prunings = [p for p in ("IMP", "OMP") if f"LT-{p}" in set(rows["setting"])]
    found = [verdict(rows, thresholds, p) for p in prunings]
    ran = rows[trained(rows)]
    ax.set_title(title, loc="left", pad=20)
    words(ax, found, rows)
    style.curves(ax, ran, "lr", SETTINGS, apart=1.02)
    if limits := limits or accuracies(ran):
        style.accuracy_axis(ax, *limits)
    else:
        ax.set(yticks=[], ylim=(0, 1))
        said = "not run" if ran.empty else "every run diverged"
        ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", color=PALE)
    style.rate_axis(ax, rows["lr"])
    best = spread(ran[ran["setting"] == "pretraining"], "lr")["mean"].max()
    if found and np.isfinite(best):
        ax.axhspan(best - found[0].thresholds.similar, best, color=SIMILAR, linewidth=0, zorder=0)
    for v in found:
        band(ax, v, ran)
    strips(strip, found, sorted(rows["lr"].unique()))
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", labelbottom=False)


def grid(down: int, across: int) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, (down, across, 2): the curves and the strip below; none is used yet."""
    tall = 2.6 if across <= 2 else 1.95
    shape = {"height_ratios": [1, 0.26 if across <= 2 else 0.36] * down}
    size = (PAGE, 0.9 + tall * down)
    fig, axes = plt.subplots(2 * down, across, figsize=size, squeeze=False, gridspec_kw=shape)
    engine = fig.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)  # of `paper_style`
    engine.set(hspace=0.02, h_pad=0.02, w_pad=0.03)
    return fig, axes.reshape(down, 2, across).transpose(0, 2, 1)


def accuracies(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Lowest and highest accuracy to be shown, with bars; None where there is none."""
    cells = spread(rows, ["setting", "lr", "sparsity"]).dropna(subset="mean") if len(rows) else rows
    if cells.empty:
        return None
    bars = cells["std"].fillna(0)
    return float(max((cells["mean"] - bars).min(), 0)), float((cells["mean"] + bars).max())


def experiments(table: pd.DataFrame, scale: Scale) -> list[tuple[str, str, pd.DataFrame]]:
    """(network, data, rows), in the scale's order, then whatever else the table has."""
    groups = dict(list(table.groupby(["network", "data"], sort=False)))
    order = [(t.network, t.data) for t in scale.tasks]
    keys = [k for k in order if k in groups] + [k for k in groups if k not in order]
    return [(*key, groups[key]) for key in keys]


def finish(fig: Figure, panels: np.ndarray, table: pd.DataFrame) -> None:
    """Axis labels, the legend and what the marks mean. Panels without curves are taken away."""
    for line in panels:
        for ax, strip in line:
            if not ax.get_title(loc="left"):
                ax.set_axis_off()
                strip.set_axis_off()
        line[0, 0].set_ylabel("test accuracy (%)")
    for column in panels.transpose(1, 0, 2):
        [strip for _, strip in column if strip.axison][-1].set_xlabel("initial learning rate")
    have = table[table["accuracy"].notna()]
    note = style.seeds_note(have) if len(have) else "nothing has run yet"
    note += f"; {table['epochs'].max()} epochs{style.diverged_note(table)}{style.unfinished_note(table)}"
    note += (
        "\nbelow: where ③, ④ and ⑤ hold; open or with a question mark: by the means, the seeds leave it open"
    )
    fig.suptitle(note, fontsize=6.5)
    marks: list[Artist] = [style.swatch(s) for s in SETTINGS if s in set(table["setting"])]
    marks += [Patch(color=SIMILAR, label="similar to the best pretraining")]
    marks += [style.ticket_swatch(kind) for kind in (SECONDARY, JACKPOT)]
    fig.legend(handles=marks, loc="outside lower center", ncols=3)


register(
    "fig3", FigureSpec("Accuracy against learning rate, a panel an experiment, tickets marked", trials, plot)
)
