"""What the forest plots share: states with their colours, an effect with its interval, a threshold."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lthpaper.figures import beyond
from lthpaper.figures.style import PALE
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES

STATES = {  # state -> colour; apart from each other in lightness too
    YES: "#004C6D",
    NO: "#D1495B",
    UNDECIDED: "#C9A227",
    NOT_RUN: "#BDBDBD",
}
LABEL = 0.17  # inches between the middles of two labels of the axis
LINEAR = 1.0  # the axis is linear up to this many points, and logarithmic beyond


def effects(ax: Axes, rows: pd.DataFrame, markers: dict[str, str] | None = None) -> None:
    """One mark per effect, filled where it is decided, with its interval, which ends in an arrow where it
    goes on beyond the panel: `points_axis` comes first.

    rows: columns y, effect, low, high (NaN where there is none), state and, for `markers`, mark.
    """
    for row in rows.itertuples():
        if not math.isfinite(row.effect):
            continue
        colour = STATES[row.state]
        low, high = (end if math.isfinite(end) else row.effect for end in (row.low, row.high))
        ax.plot([low, high], [row.y, row.y], color=colour, linewidth=1.1, solid_capstyle="butt", zorder=2)
        beyond.arrows(ax, [row.y], [low], [high], colour, along="x")
        marker = markers[row.mark] if markers else "o"
        ax.plot([row.effect], [row.y], marker=marker, zorder=3, **_look(row.state))


def _look(state: str) -> dict[str, Any]:
    """matplotlib's arguments of a state's mark, which is filled where the state is decided."""
    colour = STATES[state]
    fill = {"markerfacecolor": colour if state in (YES, NO) else "white"}
    return {"color": colour, "markersize": 4, "markeredgecolor": colour, "markeredgewidth": 0.8} | fill


def points_axis(ax: Axes, values: pd.Series) -> None:
    """x in points, linear around zero and logarithmic beyond, so that 0.5 and 50 are both to be read."""
    finite = [0.0, *values[np.isfinite(values)]]
    low, high = 1.6 * min(finite) - 0.3, 1.6 * max(finite) + 0.3
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.7)
    ax.set_xlim(low, high)
    ticks = [t for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100) if low <= t <= high]
    if max(map(abs, ticks)) >= 10:
        ticks = [t for t in ticks if abs(t) in (0, 1, 10, 100)]
    labelled = _apart(ax, ticks)
    words = [f"{t:+d}".replace("-", "−") if t else "0" for t in ticks]
    ax.set_xticks(ticks, [said if t in labelled else "" for t, said in zip(ticks, words, strict=True)])
    ax.minorticks_off()


def _apart(ax: Axes, ticks: list[int]) -> list[int]:
    """The ticks whose labels do not touch: zero first, then from the ends inwards."""
    inches = ax.get_position().width * ax.figure.figure.get_size_inches()[0]
    places = ax.transAxes.inverted().transform(ax.transData.transform([(t, 0.0) for t in ticks]))[:, 0]
    at = dict(zip(ticks, places * inches, strict=True))
    chosen: list[int] = []
    for tick in sorted(ticks, key=lambda t: (t != 0, -abs(t))):
        if all(abs(at[tick] - at[other]) >= LABEL for other in chosen):
            chosen.append(tick)
    return chosen


def rows_axis(ax: Axes, labels: list[str]) -> None:
    """y: one row per label, downwards."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)


def legend(words: dict[str, str]) -> list[Line2D]:
    """One mark per state; words: state -> what it is called here."""
    return [
        Line2D([], [], marker="o", linewidth=1.1, label=said, **_look(state)) for state, said in words.items()
    ]


def threshold(ax: Axes, at: float) -> None:
    """The zero, and what effects are held against."""
    ax.axvline(0, color="#DDDDDD", linewidth=0.6, zorder=0)
    ax.axvline(at, color=PALE, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
