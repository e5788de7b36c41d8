"""One setting minus another with its interval: LT minus RR, row by row of a figure."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from lthpaper.figures import beyond
from lthpaper.figures.style import COLOURS, MARKERS, PALE
from lthpaper.verdicts.paired import paired


def between(table: pd.DataFrame, ours: str, theirs: str, by: Sequence[str]) -> pd.DataFrame:
    """The rows of `verdicts.paired` without those of which a seed diverged."""
    found = paired(table, ours, theirs, by)
    return found[~found["diverged"].astype(bool)].drop(columns="diverged").reset_index(drop=True)


def draw(
    ax: Axes, x: Sequence[float], found: pd.DataFrame, setting: str, hollow: bool, line: str = ""
) -> None:
    """Differences with their intervals, in the marks of the setting that stands first, in a `frame`; an arrow
    at its edge where an interval goes on beyond it."""
    bars = [(found["difference"] - found["low"]).fillna(0), (found["high"] - found["difference"]).fillna(0)]
    colour = COLOURS[setting]
    ends: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7, "zorder": 2}
    ax.errorbar(x, found["difference"], yerr=bars, fmt="none", ecolor=colour, **ends)
    beyond.arrows(ax, x, found["low"], found["high"], colour)
    rim, face = (colour, "white") if hollow else ("white", colour)
    look: dict[str, Any] = {"color": colour, "marker": MARKERS[setting], "markersize": 4, "zorder": 3}
    look |= {"markerfacecolor": face, "markeredgecolor": rim, "markeredgewidth": 0.8 if hollow else 0.3}
    ax.plot(x, found["difference"], linestyle=line or "none", linewidth=0.6 if hollow else 1.0, **look)


def frame(ax: Axes, gap: float, found: pd.DataFrame) -> None:
    """The zero, the paper's clear gap, and a range that holds the differences; intervals may go on beyond."""
    ax.axhline(0, color=PALE, linewidth=0.7)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda points, _: f"{points:g}".replace("-", "−")))
    ax.axhline(gap, color=PALE, linewidth=0.7, linestyle=(0, (3, 2)))
    if len(found):
        low, high = min(found["difference"].min(), 0.0), max(found["difference"].max(), gap)
        room = max(high - low, 1.0)
        ends = found["low"].fillna(low).min(), found["high"].fillna(high).max()  # one seed has no bounds
        ax.set_ylim(
            max(low - 0.6 * room, min(ends[0], low) - 0.1 * room),
            min(high + 0.6 * room, max(ends[1], high) + 0.1 * room),
        )
