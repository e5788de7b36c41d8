"""A panel of the sanity check over its strip of conditions, and the grid, words and legend of such panels.

Figure 3, Appendix F and the check of a custom network are made of these.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from lthpaper.figures import verdict_marks
from lthpaper.figures.axes import ACCURACY, ROOM, accuracy_axis, beside, rate_axis
from lthpaper.figures.curves import curves, shifts
from lthpaper.figures.means import caption, spread
from lthpaper.figures.style import PAGE, PALE, SIMILAR, swatch
from lthpaper.paper import Thresholds
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import OF_A_DENSE_RUN, OF_A_SUBNETWORK, names
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.tickets import Verdict, mask_of, prunings_of, verdict

WIDE = 2  # up to so many panels abreast there is room for taller ones
MASKS = 2  # of a panel


def experiments(table: pd.DataFrame, scale: Scale) -> list[tuple[str, str, pd.DataFrame]]:
    """(network, data, rows), in the scale's order, then whatever else the table has."""
    groups = dict(list(table.groupby(["network", "data"], sort=False)))
    order = [(t.network, t.data) for t in scale.tasks]
    keys = [k for k in order if k in groups] + [k for k in groups if k not in order]
    return [(*key, groups[key]) for key in keys]


def grid(down: int, across: int) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, (down, across, 2): the curves and the strip below. All are empty."""
    wide = across <= WIDE
    shape = {"height_ratios": [1, 0.26 if wide else 0.36] * down}
    size = (PAGE, 0.9 + (2.6 if wide else 2.15) * down)
    fig, axes = plt.subplots(2 * down, across, figsize=size, squeeze=False, gridspec_kw=shape)
    engine = fig.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)  # of `paper_style`
    engine.set(hspace=0.02, h_pad=0.02, w_pad=0.03)
    return fig, axes.reshape(down, 2, across).transpose(0, 2, 1)


def panel(
    ax: Axes,
    strip: Axes,
    rows: pd.DataFrame,
    title: str,
    thresholds: Thresholds | None = None,
    limits: tuple[float, float] | None = None,
    among: Sequence[str] = (),
) -> None:
    """Accuracy against learning rate, one curve per setting, and the verdict on it.

    rows: tidy, of one network, data set and sparsity, pretraining included. thresholds: of the verdicts
    and the grey band, the paper's for the data set unless given. limits: of the accuracies shown. among: all
    settings of the figure.
    """
    ran = rows[trained(rows)]
    drawn = settings_of(rows)
    found = [verdict(rows, thresholds, p) for p in prunings_of(rows) if f"LT-{p}" in drawn]
    ax.set_title(title, loc="left", pad=20)
    curves(ax, rows, "lr", drawn, apart=beside(rows["lr"]), among=among)
    if limits := limits or accuracies(ran):
        accuracy_axis(ax, *limits)
    else:
        ax.set(yticks=[], ylim=(0, 1))
        said = "not run" if ran.empty else "every run diverged"
        ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center", va="center", color=PALE)
    rate_axis(ax, rows["lr"], ROOM)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", labelbottom=False)
    mark(ax, strip, found, rows, among)


def in_pairs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of one experiment in parts of two masks, each with what has no mask: that many curves, and
    words above them, have room in a panel."""
    labels = prunings_of(rows)
    pairs = [labels[first : first + MASKS] for first in range(0, len(labels), MASKS)] or [labels]
    return [rows[~rows["setting"].map(mask_of).isin(set(labels) - set(pair))] for pair in pairs]


def settings_of(table: pd.DataFrame) -> list[str]:
    """The settings of the sanity check that the table has, under whatever masks; no controls."""
    there = set(table["setting"])
    return [s for s in names(OF_A_SUBNETWORK, OF_A_DENSE_RUN, prunings_of(table)) if s in there]


def mark(ax: Axes, strip: Axes, found: list[Verdict], rows: pd.DataFrame, among: Sequence[str] = ()) -> None:
    """The verdicts on a panel: words above, the grey band that is similar to the best pretraining, the
    tickets; below, where ③ to ⑤ hold. Call it when the axes' scales and limits stand."""
    ran = rows[trained(rows)]
    verdict_marks.words(ax, found, rows, among)
    best = spread(ran[ran["setting"] == "pretraining"], "lr")["mean"].max()
    if found and np.isfinite(best):
        ax.axhspan(best - found[0].thresholds.similar, best, color=SIMILAR, linewidth=0, zorder=0)
    beside_it = shifts(settings_of(rows), beside(rows["lr"]))
    for v in found:
        verdict_marks.band(ax, v, ran, beside_it[f"LT-{v.pruning}"])
    verdict_marks.strips(strip, found, rows, among)


def accuracies(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Lowest and highest accuracy to be shown, with bars; None where there is none."""
    cells = spread(rows, ["setting", "lr", "sparsity"]).dropna(subset="mean") if len(rows) else rows
    if cells.empty:
        return None
    bars = cells["std"].fillna(0)
    return float(max((cells["mean"] - bars).min(), 0)), float((cells["mean"] + bars).max())


def finish(fig: Figure, panels: np.ndarray, table: pd.DataFrame) -> None:
    """Axis labels, the legend and what the marks mean. Panels without curves are taken away."""
    for line in panels:
        for ax, strip in line:
            if not ax.get_title(loc="left"):
                ax.set_axis_off()
                strip.set_axis_off()
        line[0, 0].set_ylabel(ACCURACY)
        line[0, 1].set_ylabel("holds at")
    for column in panels.transpose(1, 0, 2):
        [strip for _, strip in column if strip.axison][-1].set_xlabel("initial learning rate")
    have = table[table["accuracy"].notna()]
    strips = "strips: where ③ to ⑤ hold; open marks, question marks: by the means alone"
    fig.suptitle(f"{caption(table)}\n{strips}; else at 95 %, each by itself", fontsize=6.5)
    drawn = settings_of(have if len(have) else table)
    marks: list[Artist] = [swatch(s, settings_of(table)) for s in drawn]
    marks += [Patch(color=SIMILAR, label="similar to the best pretraining")]
    marks += verdict_marks.ticket_swatches(panels[..., 0].flat)
    fig.legend(handles=marks, loc="outside lower center", ncols=3)
