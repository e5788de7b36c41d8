"""A verdict on a panel of accuracy against learning rate: words above, a band along LT, strips below."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from lthpaper.figures.axes import ROOM, rate_axis
from lthpaper.figures.means import spread
from lthpaper.figures.style import BY_MEANS, PALE, SURE, TICKETS, markers, palette
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.conditions import Condition
from lthpaper.verdicts.evidence import NO, NOT_RUN, YES
from lthpaper.verdicts.tickets import EITHER, JACKPOT, NONE, SECONDARY, Verdict, mask_of, prunings_of, verdict

ROWS = ("⑤", "④", "③m", "③")  # conditions, from the foot of the strip up
HALF = 6.5  # points, of half a ticket's band (about: the layout may still stretch the panel)
LINE = 8.5  # points, of a line of words
SHORT = {EITHER: "secondary or Jackpot", SECONDARY: "secondary prize", NONE: "no ticket"}


def words(ax: Axes, found: Sequence[Verdict], rows: pd.DataFrame, among: Sequence[str] = ()) -> None:
    """Above the panel, one line per mask: its marker, and the verdict on the ticket's colour.

    among: all settings of the figure.
    """
    lt = [f"LT-{v.pruning}" for v in found]
    colours, shapes = palette([*among, *lt]), markers([*among, *lt])
    for line, v in enumerate(reversed(found)):
        name = f"LT-{v.pruning}"
        at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        height = 4 + line * LINE
        mark: dict[str, Any] = {
            "color": colours[name],
            "marker": shapes[name],
            "markersize": 3.6,
            "linestyle": "",
        }
        inches = ax.figure.dpi_scale_trans
        lifted = ax.transAxes + ScaledTranslation(3 / 72, height / 72, inches)
        ax.plot([0], [1], transform=lifted, clip_on=False, **mark)[0].set_in_layout(False)
        said = ax.annotate(f"{v.pruning}: {said_of(v, rows)}", (0, 1), (8, height), fontsize=6.3, **at)
        said.set_in_layout(False)
        if v.kind in TICKETS:
            said.set_bbox(ticket_box(v.kind, v.kind_ours))
        else:
            said.set_color(PALE)


def ticket_box(kind: str, kind_ours: str) -> dict[str, Any]:
    """The ticket's colour behind its words, paler where the seeds do not support it."""
    alpha = SURE if kind_ours == kind else BY_MEANS
    return {"facecolor": (TICKETS[kind][0], alpha), "linewidth": 0, "pad": 1.0}


def said_of(v: Verdict, rows: pd.DataFrame) -> str:
    """The verdict in a few words; a question mark where the seeds do not settle what the means say."""
    if v.kind in TICKETS:
        return f"{SHORT.get(v.kind, v.kind)}{'?' * (v.kind_ours != v.kind)}"
    if v.kind_ours == NONE:
        return no_ticket(v[1].holds_ours)
    begun = rows["seed"].isin(rows.loc[trained(rows), "seed"])  # others are planned
    rows = rows[begun] if begun.any() else rows
    others = set(prunings_of(rows)) - {v.pruning}
    mine = trained(rows)[~rows["setting"].map(mask_of).isin(others)]
    if not mine.all():
        return "not yet complete" if mine.any() else "not run"
    return f"{SHORT[NONE]}?" if v.kind == NONE else "undecided"


def no_ticket(first: str) -> str:
    """ "no ticket", and whether ① fails, which no other mark shows. first: whether ① holds, YES or NO."""
    return f"{SHORT[NONE]} (① fails)" if first == NO else SHORT[NONE]


def band(ax: Axes, v: Verdict, rows: pd.DataFrame, shift: float = 1.0) -> None:
    """A hatched band along LT where the ticket is: where LT also beats every RR, if it does both.

    shift: the factor from a learning rate to LT's marks at it.
    """
    if v.kind not in TICKETS:
        return
    lt = (
        spread(rows[rows["setting"] == f"LT-{v.pruning}"], "lr").dropna(subset="mean").set_index("lr")["mean"]
    )
    lrs = sorted((set(v.lrs) & set(v[3].lrs)) or set(v.lrs))
    for run in neighbours([lr for lr in lrs if lr in lt.index], sorted(rows["lr"].unique())):
        ticket_band(ax, [shift * lr for lr in run], lt[run], v.kind, sure=v.kind_ours == v.kind)


def ticket_swatch(kind: str, alpha: float = SURE) -> Patch:
    """A ticket's band for a legend, as pale as the band."""
    colour, hatch = TICKETS[kind]
    return Patch(
        facecolor=colour, edgecolor="white", hatch=hatch, alpha=alpha, linewidth=0, label=f"{kind} ticket"
    )


def ticket_swatches(axes: Iterable[Axes]) -> list[Patch]:
    """One of each kind whose band is drawn, as pale as the surest band."""
    bands: list[tuple[Any, Any]] = [
        (band.get_label(), band.get_alpha()) for ax in axes for band in ax.collections
    ]
    drawn = {
        kind: [alpha for label, alpha in bands if label == f"{kind} ticket"]
        for kind in (SECONDARY, EITHER, JACKPOT)
    }
    return [ticket_swatch(kind, max(alphas)) for kind, alphas in drawn.items() if alphas]


def ticket_band(ax: Axes, x: Sequence[float], y: Sequence[float], kind: str, sure: bool = True) -> None:
    """A hatched band along a curve where the ticket is. x, y: data; call it when limits and scales stand."""
    colour, hatch = TICKETS[kind]
    points = ax.transAxes.inverted().transform(ax.transData.transform(np.column_stack([x, y])))
    (left, first), (right, last) = points[0], points[-1]
    xs = [left - 0.03, *points[:, 0], right + 0.03]  # a single learning rate is a band too
    ys = np.array([first, *points[:, 1], last])
    half = HALF / 72 * ax.figure.dpi / ax.bbox.height
    look: dict[str, Any] = {
        "facecolor": colour,
        "edgecolor": "white",
        "hatch": hatch,
        "linewidth": 0,
        "zorder": 1,
    }
    alpha = SURE if sure else BY_MEANS
    ax.fill_between(
        xs, ys - half, ys + half, transform=ax.transAxes, alpha=alpha, label=f"{kind} ticket", **look
    )


def neighbours(lrs: Sequence[float], grid: Sequence[float]) -> list[list[float]]:
    """Runs of learning rates that are next to each other in the grid."""
    runs: list[list[float]] = []
    for lr in lrs:
        if runs and grid.index(lr) == grid.index(runs[-1][-1]) + 1:
            runs[-1].append(lr)
        else:
            runs.append([lr])
    return runs


def _where(there: Mapping[str | None, Condition]) -> str:
    """Words for a row without a mark, from each mask's condition; they name the masks if some did not run."""
    ran = {p: condition.holds for p, condition in there.items() if condition.holds != NOT_RUN}
    if not ran:
        return "not run"
    masks = f"{', '.join(filter(None, ran))}: " if len(ran) < len(there) else ""
    return masks + ("nowhere" if set(ran.values()) == {NO} else "undecided")


def _supported(rows: pd.DataFrame, v: Verdict) -> dict[str, list[float]]:
    """Condition -> learning rates at which the seeds support it: they support it at all, and would if LT had
    been trained at this rate alone. The first does not say where; the second forgets that LT had a choice."""
    lt = f"LT-{v.pruning}"
    found: dict[str, list[float]] = {c.symbol: [] for c in v.judged}
    settled = {c.symbol for c in v.judged if c.holds_ours == YES}
    for lr in sorted({lr for c in v.judged for lr in c.lrs}):
        alone = verdict(
            rows[(rows["setting"] != lt) | (rows["lr"] == lr)], v.thresholds, v.pruning, quick=True
        )
        for c in alone.judged:
            if c.holds_ours == YES and c.symbol in settled:
                found[c.symbol].append(lr)
    return found


def strips(ax: Axes, found: Sequence[Verdict], rows: pd.DataFrame, among: Sequence[str] = ()) -> None:
    """A row each of ③, ④ and ⑤, and ③m where it is asked: a mask's marker at each rate at which it holds.

    Filled where the seeds support it at that rate, else open. rows: what was judged. among: all settings of
    the figure.
    """
    sure = {v.pruning: _supported(rows, v) for v in found}
    judged = {v.pruning: {c.symbol: c for c in v.judged} for v in found}
    asked_of = [s for s in ROWS if s != "③m" or any(s in conditions for conditions in judged.values())]
    lt = [f"LT-{p}" for p in judged]
    colours, shapes = palette([*among, *lt]), markers([*among, *lt])
    lifts = np.linspace(0.2, -0.2, len(judged)) if len(judged) > 1 else [0]
    for row, symbol in enumerate(asked_of):
        ax.axhline(row, color="#DDDDDD", linewidth=0.5, zorder=0)
        asked = {p: conditions.get(symbol) for p, conditions in judged.items()}
        for (pruning, condition), lift in zip(asked.items(), lifts, strict=True):
            if condition is None:
                continue
            colour, marker = colours[f"LT-{pruning}"], shapes[f"LT-{pruning}"]
            look: dict[str, Any] = {"color": colour, "markeredgewidth": 0.7, "markersize": 3}
            filled = [lr for lr in condition.lrs if lr in sure[pruning][symbol]]
            others = [lr for lr in condition.lrs if lr not in filled]
            for fill, rates in ((colour, filled), ("white", others)):
                heights = [row + lift] * len(rates)
                ax.plot(rates, heights, linestyle="", marker=marker, markerfacecolor=fill, **look)
        there = {p: condition for p, condition in asked.items() if condition}
        if there and not any(condition.lrs for condition in there.values()):
            ax.text(
                0.5,
                row,
                _where(there),
                transform=ax.get_yaxis_transform(),
                fontsize=6,
                color=PALE,
                ha="center",
                va="center",
            )
    rate_axis(ax, rows["lr"], ROOM)  # as the panel's
    ax.set_ylim(-0.6, len(asked_of) - 0.4)
    ax.set_yticks(range(len(asked_of)), asked_of)
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
