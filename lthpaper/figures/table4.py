"""Table 4 (§4): masks from two pretraining learning rates, their subnetworks trained at many.

Every IMP round trains at the pretraining rate; only the last subnetwork's own training has another. The
paper's table is unavailable to us: the two rates are Figure 1's two largest, and the sparsity is the scale's
highest (ours).
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.means import counted, diverged_note, in_lines, spread, spread_note, unfinished_note
from lthpaper.figures.style import PAGE, as_written, paper_style
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale

trials = experiments.mixed_rates

SETTINGS = ("LT-IMP", "RR-IMP")
RANGE = 5.0  # points below the best that colours tell apart; a rate that fails would swallow the rest


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, pretraining_lr and lr: mean, std, n and diverged of accuracy (spread)."""
    return spread(table[table["setting"] != "pretraining"], ["setting", "pretraining_lr", "lr"])


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows: setting and pretraining learning rate; columns: the subnetwork's. "mean ± std" as text; a
    star marks the pretraining's own rate, brackets what alone is best in a row, × that a seed diverged."""
    found = cells(table)
    rows = {}
    for (setting, lr), line in found.groupby(["setting", "pretraining_lr"]):
        best = _best(line["mean"])
        rows[f"{setting}, masks from {lr:g}"] = {
            f"{cell.lr:g}": _text(cell, " ± ", best) + ("*" if cell.lr == lr else "")
            for cell in line.itertuples()
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "learning rate of the subnetwork"
    return frame


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Rows: pretraining rates; columns: subnetwork rates. The frame marks equal rates, bold the best."""
    found = cells(table)
    with paper_style():
        rows = found["pretraining_lr"].nunique()
        fig, axes = plt.subplots(
            len(SETTINGS),
            1,
            figsize=(PAGE, 0.85 + len(SETTINGS) * (0.36 + 0.33 * rows)),
            squeeze=False,
            layout="constrained",
        )
        top = found["mean"].max()
        for letter, ax, setting in zip("ab", axes[:, 0], SETTINGS, strict=True):
            shown = _panel(ax, found[found["setting"] == setting], top)
            ax.set_title(f"({letter}) {setting}", loc="left")
            ax.set_ylabel("pretraining\nand IMP at", fontsize=7)
        axes[-1][0].set_xlabel("learning rate of the subnetwork's own training")
        bar = fig.colorbar(shown, ax=axes, extend="min", aspect=12, pad=0.01)
        bar.set_label("test accuracy (%)")
        fig.suptitle(_title(table), fontsize=6.5)
    return fig


def _panel(ax: Axes, found: pd.DataFrame, top: float) -> plt.cm.ScalarMappable:
    square = found.pivot(index="pretraining_lr", columns="lr", values="mean")
    high = top if np.isfinite(top) else 100.0
    shown = ax.imshow(square, cmap="cividis", vmin=high - RANGE, vmax=high, aspect="auto")
    rates, others = list(square.columns), list(square.index)
    for cell in found.itertuples():
        row = square.loc[cell.pretraining_lr]
        at = rates.index(cell.lr), others.index(cell.pretraining_lr)
        light = not np.isfinite(cell.mean) or _luminance(np.asarray(shown.to_rgba(cell.mean))) > EVEN
        best = np.isfinite(cell.mean) and round(cell.mean, 1) == _best(row)
        ax.text(
            *at,
            _text(cell, "\n±"),
            ha="center",
            va="center",
            fontsize=6.5,
            color="black" if light else "white",
            fontweight="bold" if best else "normal",
            linespacing=1.0,
        )
        if cell.lr == cell.pretraining_lr:
            frame = Rectangle((at[0] - 0.47, at[1] - 0.46), 0.94, 0.92, fill=False, linewidth=1.6)
            frame.set_edgecolor("white" if not light else "black")
            ax.add_patch(frame)
    ax.set_xticks(range(len(rates)), [f"{lr:g}" for lr in rates])
    ax.set_yticks(range(len(others)), [f"{lr:g}" for lr in others])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return shown


EVEN = 0.179  # luminance on which black and white have the same contrast (WCAG 2)


def _luminance(colour: np.ndarray) -> float:
    """Of an sRGB colour, from 0 (black) to 1 (white)."""
    linear = np.where(colour > 0.04045, ((colour + 0.055) / 1.055) ** 2.4, colour / 12.92)
    return float(np.dot(linear[:3], (0.2126, 0.7152, 0.0722)))


def _best(means: pd.Series) -> float | None:
    """The best of a row to the decimal shown; None if two share it."""
    shown = means.round(1)
    return float(shown.max()) if (shown == shown.max()).sum() == 1 else None


def _text(cell: Any, between: str, best: float | None = None) -> str:
    if not np.isfinite(cell.mean):
        return "×" if cell.diverged else "–"
    mean = f"[{cell.mean:.1f}]" if best is not None and round(cell.mean, 1) == best else f"{cell.mean:.1f}"
    return mean + (f"{between}{cell.std:.1f}" if np.isfinite(cell.std) else "")


def _title(table: pd.DataFrame) -> str:
    about = table.iloc[0]
    n = cells(table)["n"]
    dense = spread(table[table["setting"] == "pretraining"], "lr")
    ran = dense[dense["mean"].notna() | dense["diverged"]].itertuples()
    said = ", ".join(f"{'×' if cell.diverged else f'{cell.mean:.1f}'} at {cell.lr:g}" for cell in ran)
    small = "±0.0: below 0.05" if (cells(table)["std"] < 0.05).any() else ""
    of = "" if counted(dense["n"]) == counted(n[n > 0]) else f" ({counted(dense['n'])})"
    dense_note = f"pretraining {said}{of}" if said else ""
    return in_lines(
        [
            f"{about['network']} on {about['data']}, sparsity {as_written(table['sparsity'].max())}",
            spread_note(n[n > 0]),
            "frame: equal rates",
            "bold: the one highest mean of its row",
            small,
            dense_note,
            diverged_note(table),
            unfinished_note(table),
        ]
    )


register(
    "table4",
    FigureSpec(
        "Different learning rates in pretraining and subnetwork training", trials, plot, tabulate=tabulate
    ),
)
