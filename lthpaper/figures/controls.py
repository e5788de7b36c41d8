"""Controls: what a ticket is made of. Differences of accuracy with their intervals, one panel per mask."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, beyond, register
from lthpaper.figures.means import CROSS, NOTHING, in_lines, plus_minus, unfinished_note
from lthpaper.figures.style import PAGE, PALE, as_written, paper_style, rate_colours, symbols
from lthpaper.runs import controls as runs_of
from lthpaper.runs.scales import Scale
from lthpaper.verdicts import controls
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.evidence import always_signed, span

trials = runs_of.of_scale
HEIGHT = 0.46  # inches a comparison
NOT_RUN: dict[str, Any] = {"ha": "center", "va": "center", "color": PALE, "fontsize": 6}
LINEAR = 3  # points; the smallest rates differ by tens of points, the others by tenths
TICKS, BETWEEN = (-10, -3, 0, 3, 10), (-30, -1, 1, 30)  # points, with and without a label


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """A forest plot: one group per comparison, in it one line per learning rate, small rates at the top."""
    found = controls.differences(table)
    rates = sorted(table["lr"].unique())
    colours = rate_colours(rates)
    questions = [question for *_, question in controls.COMPARED]
    with paper_style():
        fig, axes = plt.subplots(
            1,
            len(runs_of.MASKS),
            figsize=(PAGE, 1 + HEIGHT * len(questions)),
            sharex=True,
            sharey=True,
        )
        axes[0].set_yticks(range(len(questions)), [symbols(_label(*row)) for row in controls.COMPARED])
        axes[0].set_ylim(len(questions) - 0.5, -0.5)
        _limits(axes[0], found)
        for ax, mask in zip(axes, runs_of.MASKS, strict=True):
            panel(ax, found[found["mask"] == mask], rates, colours)
            ax.set_title(f"under {mask}'s mask")
        for ax in axes:
            ax.set_xscale("symlog", linthresh=LINEAR)
            ax.set_xticks(TICKS, [always_signed(tick, 0) if tick else "0" for tick in TICKS])
            ax.set_xticks(BETWEEN, [], minor=True)
            ax.set_xlabel("difference of accuracies (points)")
        marks = [Line2D([], [], color=colours[lr], marker="o", markersize=3, label=f"{lr:g}") for lr in rates]
        fig.legend(handles=marks, title="initial learning rate", loc="outside lower center", ncols=len(marks))
        fig.suptitle(_note(table, found, beyond.note(fig)), fontsize=6.5)
    return fig


def panel(ax: Axes, found: pd.DataFrame, rates: list[float], colours: dict[float, Any]) -> Axes:
    """One mask's comparisons, in a panel whose limits stand. found: rows of controls.differences."""
    ax.axvline(0, color="#444444", linewidth=0.8, zorder=1)
    offsets = dict(zip(rates, np.linspace(-0.33, 0.33, len(rates)) if len(rates) > 1 else [0.0], strict=True))
    places = {question: i for i, (*_, question) in enumerate(controls.COMPARED)}
    for row in found.itertuples():
        y = places[row.question] + offsets[row.lr]
        if row.diverged:
            ax.plot(0.99, y, "x", color=colours[row.lr], markersize=3, transform=ax.get_yaxis_transform())
            continue
        if np.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=colours[row.lr], linewidth=1, zorder=2)
            beyond.arrows(ax, [y], [row.low], [row.high], colours[row.lr], along="x", size=2.4)
        ax.plot(row.difference, y, "o", color=colours[row.lr], markersize=2.8, zorder=3)
    for question in set(places) - set(found["question"]):
        ax.text(0.5, places[question], "not run", transform=ax.get_yaxis_transform(), **NOT_RUN)
    for i in range(1, len(places)):
        ax.axhline(i - 0.5, color="#cccccc", linewidth=0.5)
    ax.grid(axis="y", visible=False)
    return ax


def _label(ours: str, against: str, question: str) -> str:
    names = [name.rstrip("-") for name in (ours, against)]
    return f"{names[0]} − {names[1]}\n{question}"


def _limits(ax: Axes, found: pd.DataFrame) -> None:
    """Every mean within the panel, and of each interval what fits: with two seeds some are endless."""
    means = found["difference"].dropna()
    if means.empty:
        return
    low, high = min(means.min(), 0.0), max(means.max(), 0.0)
    ends = found[["low", "high"]].to_numpy(float)
    ends = ends[np.isfinite(ends).all(axis=1)]
    reach = (high - low) or 1.0
    if len(ends):
        low, high = (max(ends.min(), low - reach), min(ends.max(), high + reach))
    low, high = min(low, means.min(), 0.0), max(high, means.max(), 0.0)
    ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _note(table: pd.DataFrame, found: pd.DataFrame, arrows: str) -> str:
    """arrows: `beyond.note`."""
    ran = trained(table)
    sparsity = as_written(table["sparsity"].max())
    about = f"{table['network'].iloc[0]} on {table['data'].iloc[0]}, $s$ = {sparsity}, "
    about += f"{table['epochs'].iloc[0]} epochs"
    if not ran.any():
        return f"{about}; {NOTHING}"
    pairs = span(found["n"]) if len(found) else "0"
    several = f"mean and 95 % interval over {pairs} seeds, paired"
    interval = "differences of one seed" if pairs == "1" else several
    scaled = f"axes linear to ±{LINEAR} points, logarithmic beyond"
    lost = CROSS if found["diverged"].any() else ""
    notes = [interval, scaled, arrows, lost, unfinished_note(table)]
    return f"{about}\n{in_lines(notes)}"


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows: comparisons and masks; columns: learning rates. "+2.3 ± 0.6" (half the 95 % interval)."""
    found = controls.differences(table)
    if found.empty:
        return pd.DataFrame()
    written = [
        "diverged"
        if row.diverged
        else always_signed(row.difference, 1) + plus_minus(row.high - row.difference)
        for row in found.itertuples()
    ]
    found = found.assign(written=written, what=found["ours"] + " − " + found["against"])
    order = list(dict.fromkeys(zip(found["mask"], found["what"], strict=True)))
    wide = found.pivot_table(index=["mask", "what"], columns="lr", values="written", aggfunc="first")
    return wide.reindex(order).rename(columns=lambda lr: f"{lr:g}").fillna("–")


register(
    "controls",
    FigureSpec(
        "LT minus each control: norms, signs, shuffled, carried and random masks",
        trials,
        plot,
        tabulate=tabulate,
        says=lambda table, scale: controls.seen(table).splitlines(),
    ),
)
