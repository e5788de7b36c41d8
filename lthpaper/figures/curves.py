"""Draw accuracies in each setting's colour and marker: curves, marks side by side, levels; × if diverged."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform

from lthpaper.figures.axes import places_axis
from lthpaper.figures.means import converged, diverged, spread
from lthpaper.figures.style import COLOURS, DASHES, markers, palette


def curves(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    settings: Sequence[str],
    apart: float = 1.0,
    hollow: bool = False,
    caps: bool = True,
    among: Sequence[str] = (),
    **look: object,
) -> Axes:
    """Mean accuracy of each setting against column x, bars of one standard deviation over seeds; × where a
    seed diverged. A line joins neighbours among the table's x, run or not: it has a gap where a setting has
    no mean.

    apart: factor between neighbouring settings' x, so that bars stand beside each other on a log axis.
    hollow: markers are open (an insufficient training). caps: without, bars are thinner too, where many
    stand in a panel. among: all settings of the figure. look: of lines, as matplotlib names it.
    Scales are set afterwards: seaborn takes means in an axis' own scale.
    """
    import seaborn as sns

    if converged(table).empty:  # nothing to take a mean of
        for setting in settings:
            crosses(ax, diverged(table[table["setting"] == setting], [x])[x], setting, among=among)
        return ax
    order = [s for s in settings if s in set(table["setting"])]
    shift = shifts(order, apart)
    table = table[table["setting"].isin(order)]
    places = np.sort(table[x].unique())
    table = table.assign(**{x: table[x] * table["setting"].map(shift).astype(float)})
    before, shown = len(ax.lines), converged(table)
    looks, shapes = palette([*among, *order]), markers([*among, *order])
    sns.lineplot(
        shown,
        x=x,
        y="accuracy",
        hue="setting",
        style="setting",
        hue_order=order,
        style_order=order,
        palette={s: looks[s] for s in order},
        markers={s: shapes[s] for s in order},
        dashes={s: DASHES.get(s, "") for s in order},
        errorbar="sd",
        err_style="bars",
        err_kws={"capsize": 1.5 * caps, "elinewidth": 0.7 if caps else 0.4, "capthick": 0.7},
        legend=False,
        ax=ax,
        **look,
    )
    lines = marked(ax.lines[before:])
    for setting, line in zip([s for s in order if s in set(shown["setting"])], lines, strict=True):
        gaps(line, places * shift[setting])
    if hollow:
        _open(lines)
    for setting, cells in diverged(table, [x, "setting"]).groupby("setting"):
        crosses(ax, cells[x], setting, among=among)
    return ax


def shifts(settings: Sequence[str], apart: float) -> dict[str, float]:
    """The factor on x that puts each setting beside its neighbours, as in `curves`."""
    return {s: apart ** (i - (len(settings) - 1) / 2) for i, s in enumerate(settings)}


def gaps(line: Line2D, places: np.ndarray) -> None:
    """Break a line at those of `places`, ascending, where it has no mark: a straight one would invent it."""
    x, y = line.get_data()
    heights = np.full(len(places), np.nan)
    heights[np.abs(np.subtract.outer(x, places)).argmin(axis=1)] = y
    line.set_data(places, heights)


def marked(lines: Iterable[Line2D]) -> list[Line2D]:
    """Without bars and their caps."""
    return [line for line in lines if line.get_marker() not in ("None", "none", "", "_", "|", None)]


def _open(lines: Iterable[Line2D]) -> None:
    for line in lines:
        line.set(markerfacecolor="white", markeredgecolor=line.get_color(), markeredgewidth=0.8)


@dataclass(frozen=True)
class Case:
    """One of the marks side by side: in a setting's colour and marker, open or filled."""

    setting: str
    hollow: bool = False


def points(
    ax: Axes, table: pd.DataFrame, x: str, cases: Mapping[str, Case], dodge: float = 0.66, size: float = 4
) -> Axes:
    """Mean accuracy and its standard deviation over seeds, the cases side by side at each value of x.

    cases: value of the table's column "case" -> its look. size: of marks, points. × where a seed diverged.
    """
    import seaborn as sns

    order = sorted(table[x].unique())
    places, shown = offsets(cases, dodge), converged(table)
    settings = [case.setting for case in cases.values()]
    looks, shapes = palette(settings), markers(settings)
    for hollow in (False, True):
        before = len(ax.lines)
        names = [name for name, case in cases.items() if case.hollow == hollow]
        sns.pointplot(
            shown[shown["case"].isin(names)],
            x=x,
            y="accuracy",
            hue="case",
            order=order,
            hue_order=list(cases),
            palette=[looks[case.setting] for case in cases.values()],
            markers=[shapes[case.setting] for case in cases.values()],
            dodge=dodge,
            errorbar="sd",
            err_kws={"linewidth": 0.7},
            linestyle="none",
            markersize=size,
            markeredgewidth=0.3,
            legend=False,
            ax=ax,
        )
        for line in ax.lines[before:]:
            line.set_zorder(3 if line.get_marker() in ("None", "", None) else 4)  # marks lie on bars
        if hollow:
            _open(marked(ax.lines[before:]))
    for cell in diverged(table[table["case"].isin(cases)], [x, "case"]).itertuples():
        crosses(
            ax, [order.index(getattr(cell, x)) + places[cell.case]], cases[cell.case].setting, among=settings
        )
    places_axis(ax, len(order))
    return ax


def offsets(cases: Iterable[str], dodge: float) -> dict[str, float]:
    """Where the marks of `points` stand beside their value of x, which is 1 wide; a single one on it."""
    names = list(cases)
    half = dodge / 2 if len(names) > 1 else 0.0
    return dict(zip(names, np.linspace(-half, half, len(names)), strict=True))


def crosses(
    ax: Axes,
    x: Iterable[float],
    setting: str,
    transform: Transform | None = None,
    among: Sequence[str] = (),
) -> None:
    """× at the foot of the panel where a seed of a setting diverged. x: data, unless `transform` says.
    among: all settings of the figure."""
    x = list(x)
    if x:
        where: dict[str, Any] = {
            "transform": transform or ax.get_xaxis_transform(),
            "clip_on": False,
            "zorder": 5,
        }
        look: dict[str, Any] = {
            "color": palette([*among, setting])[setting],
            "marker": "x",
            "markersize": 3.2,
            "markeredgewidth": 0.8,
        }
        ax.plot(x, [0.01] * len(x), linestyle="", **look, **where)


def level(ax: Axes, table: pd.DataFrame, **style: Any) -> None:
    """A level line at pretraining's mean accuracy (of one learning rate); × if a seed diverged."""
    for cell in spread(table[table["setting"] == "pretraining"], "lr").itertuples():
        if cell.diverged:
            crosses(ax, [0.015], "pretraining", ax.transAxes)
        elif math.isfinite(cell.mean):
            look: dict[str, Any] = {"color": COLOURS["pretraining"], "linewidth": 1}
            ax.axhline(cell.mean, **look | style)


def epochs_fill(epochs: Iterable[int]) -> Mapping[int, bool]:
    """Number of epochs -> are its marks filled? The longest training's are, others are open."""
    longest = max(epochs, default=0)
    return {e: e == longest for e in epochs}
