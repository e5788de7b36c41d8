"""Appendix D: the same masks on θ0 (LT), θt of a few early epochs t (WR), θT (FT) and θ0′ (RR).

WR goes on with the recipe from epoch t; FT runs the whole recipe again from θT (learning-rate
rewinding). Masks are those of LT: no IMP round is rewound. The appendix is unavailable to us: epochs, one
network, Figure 1's learning rates and the scale's highest sparsity are ours.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.curves import crosses, level
from lthpaper.figures.means import diverged_note, listed, seeds_note, spread
from lthpaper.figures.style import COLOURS, MARKERS, PAGE, THETA_T, as_written, letters, paper_style, symbols
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import MASKS
from lthpaper.verdicts.evidence import always_signed
from lthpaper.verdicts.tickets import Verdict, verdict

trials = experiments.rewinding


def verdicts(table: pd.DataFrame) -> list[tuple[str, str, Verdict]]:
    """(start, pruning, verdict) of LT, of each rewinding epoch and of FT.

    By the generalised principles (`lthpaper.verdicts.tickets`): what starts from θt stands in LT's place.
    """
    found = []
    for pruning in MASKS:
        others = ~table["setting"].str.startswith(("WR-", "FT-"))
        for start, setting, rows in _starts(table, pruning):
            if setting.startswith("LT-"):
                rows = rows.iloc[:0]
            together = pd.concat([table[others], rows])
            found.append((start, pruning, verdict(together, pruning=pruning, subnetwork=setting[:2])))
    return found


def _starts(table: pd.DataFrame, pruning: str) -> list[tuple[str, str, pd.DataFrame]]:
    """(what it starts from, setting, rows), from θ0 on."""
    starts = [("θ0", f"LT-{pruning}", table[table["setting"] == f"LT-{pruning}"])]
    rewound_rows = table[table["setting"] == f"WR-{pruning}"]
    starts += [(f"θ{int(t)}", f"WR-{pruning}", rows) for t, rows in rewound_rows.groupby("rewind", sort=True)]
    tuned = table[table["setting"] == f"FT-{pruning}"]
    return starts + ([("θT", f"FT-{pruning}", tuned)] if len(tuned) else [])


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One row per start and pruning: the best accuracy over the learning rates, against LT, and the ticket
    by the means and by the seeds, as text."""
    rows = []
    best_lt = {p: _best(table[table["setting"] == f"LT-{p}"]) for p in MASKS}
    by_start = {(s, p): rows for p in MASKS for s, _, rows in _starts(table, p)}
    for start, pruning, v in verdicts(table):
        best = _best(by_start[start, pruning])
        gain = best - best_lt[pruning]
        above = "" if start == "θ0" or gain != gain else always_signed(gain)
        rows.append(
            {
                "starts from": start,
                "masks": pruning,
                "best accuracy": f"{best:.2f}",
                "above θ0": above,
                "ticket by the means": v.kind,
                "by the seeds": v.kind_ours,
            }
        )
    return pd.DataFrame(rows).replace("nan", "–").set_index("starts from")


def _best(rows: pd.DataFrame) -> float:
    return spread(rows, "lr")["mean"].max()


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One panel per learning rate, each with its own range; accuracy against where the subnetwork starts,
    pretraining as a level line."""
    rates = sorted(table["lr"].unique())
    with paper_style():
        fig, axes = plt.subplots(1, len(rates), figsize=(PAGE, 3.0), squeeze=False, layout="constrained")
        for letter, ax, lr in zip(letters(), axes[0], rates, strict=False):
            _panel(ax, table[table["lr"] == lr])
            ax.set_title(f"({letter}) learning rate {lr:g}")
            ax.set_xlabel("the subnetwork starts from")
        axes[0][0].set_ylabel("test accuracy (%)")
        nothing = Line2D([], [], linestyle="", label=" ")  # so IMP is the row above and OMP the one below
        marks = [Line2D([], [], color="black", label="pretraining (mean)"), nothing]
        for start, what in (("θ0′", "RR"), ("θ0", "LT"), ("θt", "WR"), ("θT", "FT")):
            for name in (f"{what}-{p}" for p in MASKS):
                look: dict[str, Any] = {"color": COLOURS[name], "marker": MARKERS[name]}
                marks.append(Line2D([], [], label=f"{symbols(start)}: {name}", **look))
        fig.legend(handles=marks, loc="outside lower center", ncols=5)
        there = table[table["accuracy"].notna()]
        named = there.assign(setting=there["setting"] + there["rewind"].astype(str))  # each t by itself
        about = table.iloc[0]
        fig.suptitle(
            f"{about['network']} on {about['data']}, sparsity {as_written(table['sparsity'].max())}, "
            f"{about['epochs']} epochs; {listed(seeds_note(named), diverged_note(table))}\n"
            f"WR: from epoch t on, the rest of the epochs; FT: from {THETA_T}, all of them again",
            fontsize=6.5,
        )
    return fig


def _panel(ax: Axes, table: pd.DataFrame) -> Axes:
    level(ax, table)
    names = ["θ0′"]
    for pruning, shift in zip(MASKS, (-0.13, 0.13), strict=True):
        starts = _starts(table, pruning)
        starts = [("θ0′", f"RR-{pruning}", table[table["setting"] == f"RR-{pruning}"]), *starts]
        names = [name for name, *_ in starts]
        points = []
        for x, (_, setting, rows) in enumerate(starts):
            cells = spread(rows, "lr")
            crosses(ax, [x + shift] * int(cells["diverged"].sum()), setting)
            for cell in cells.itertuples():  # without a mean: a gap
                error = np.nan_to_num(cell.std)
                look: dict[str, Any] = {"color": COLOURS[setting], "marker": MARKERS[setting], "zorder": 3}
                ax.errorbar(x + shift, cell.mean, yerr=error, capsize=2, elinewidth=0.8, **look)
                if setting.startswith(("LT-", "WR-")):  # θ0′ and θT stand apart
                    points.append((x + shift, cell.mean))
        if points:
            ax.plot(*zip(*points, strict=True), color=COLOURS[f"WR-{pruning}"])
    ax.axvline(0.5, color="#bbbbbb", linewidth=0.6)
    ax.set_xticks(range(len(names)), [symbols(name) for name in names])
    ax.grid(axis="x", visible=False)
    return ax


register(
    "appendix-d",
    FigureSpec("Weight rewinding and fine-tuning beside LT", trials, plot, tabulate=tabulate),
)
