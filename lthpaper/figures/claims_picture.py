"""The claims as a forest plot: one line per comparison, with its effect, the threshold and its state."""

import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lthpaper.figures import beyond, forest
from lthpaper.figures.style import PAGE, PALE, paper_style, symbols
from lthpaper.runs.scales import Scale
from lthpaper.verdicts import claims
from lthpaper.verdicts.claims.outcome import CONTRADICTED, SUPPORTED
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES
from lthpaper.verdicts.paper_beside_ours import in_captions, stated

# symbol, colour, ink: states differ in lightness and hue, and the symbol says them without colour
LOOKS = {
    SUPPORTED: ("✓", forest.STATES[YES], "white"),
    CONTRADICTED: ("✗", forest.STATES[NO], "white"),
    UNDECIDED: ("?", "#F3E3A1", "black"),
    NOT_RUN: ("–", "#EEEEEE", "#555555"),
}
GROUPS: dict[str, tuple[int | str, ...]] = {  # heading -> claims
    "learning rate and length of training (Figure 1)": (1, 2, 3, 4),
    "tickets (Figure 3)": (5, 6),
    "networks and data (Table 3)": (7, 8, 9, 11),
    "weights and loss surfaces (Figures 4 to 6)": (10, 14),
    "rewinding and mixed rates (Appendix D, Table 4)": (12, 13),
    "follow-ups: statements of later work, and our own (F8)": tuple(claims.FOLLOW_UPS),
}
ROW, SIZE = 0.095, 6.1  # inches, points; so all claims fit a page, which is 9 inches tall
LABEL = 38  # characters of a line that says what is measured
AXIS = 3.85  # inches, from the left edge to the axis
HOLDS = "#E3EDF1"
TICK: dict[str, Any] = {"marker": "|", "markersize": 5, "linestyle": ""}
DIAMOND: dict[str, Any] = {"marker": "D", "markersize": 4.2, "markerfacecolor": "none"}
TOGETHER = (
    "Claims are decided at 95 % over all their comparisons together; other figures judge each comparison "
    "by itself."
)


def board_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per claim: the columns of claims.board."""
    return table.drop_duplicates("claim").reset_index(drop=True)


def of_paper() -> dict[tuple[int | str, str], float]:
    """(claim, what is measured) -> the same from the numbers that the text states."""
    few = 78
    imp, omp, bare_imp, bare_omp = (
        in_captions(setting, network)
        for network in ("resnet32", "resnet32-noskip")
        for setting in ("LT-IMP", "LT-OMP")
    )
    return {
        (3, "LT − pretraining, 78 epochs"): stated("LT-IMP", few) - stated("pretraining", few),
        (3, "LT − RR-IMP, 78 epochs"): stated("LT-IMP", few) - stated("RR-IMP", few),
        (3, "LT − pretraining, 160 epochs"): stated("LT-IMP") - stated("pretraining"),
        (4, "pretraining, 160 epochs at 0.1 − 78 epochs at 0.005"): stated("pretraining", lr=0.1)
        - stated("pretraining", few),
        (7, "IMP − OMP, residual"): max(imp) - max(omp),
        (7, "IMP − OMP, no residual"): max(bare_imp) - max(bare_omp),
        (8, "LT, small − large rates, residual"): imp[0] - imp[1],
        (8, "LT, large − small rates, no residual"): bare_imp[1] - bare_imp[0],
    }


def bounds(needed: object) -> tuple[float, float] | None:
    """Between which values a comparison holds, from its words: "more than +0.50", "from 0.05 to 0.15"."""
    text = str(needed).replace("−", "-")
    found = [float(n) for n in re.findall(r"(?<![\w.])[+-]?\d+(?:\.\d+)?", text)]
    if len(found) == 2 and text.startswith("from"):
        return found[0], found[1]
    if len(found) != 1:
        return None
    if text.endswith("either way"):
        return -abs(found[0]), abs(found[0])
    if text.startswith(("more than", "at least", "above")):
        return found[0], math.inf
    return (-math.inf, found[0]) if text.startswith(("less than", "at most", "below")) else None


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Claims in groups, one line per comparison. Pale: where it holds; small ticks: all of its kind; the mark
    with its interval: the one that decides; diamond: from the paper's numbers."""
    lines, rows = _lines(table)
    tall, foot, top = ROW * rows, 0.86, 0.62
    total = tall + foot + top
    with paper_style(), plt.rc_context({"figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(PAGE, total))
        left = fig.add_axes((0, foot / total, 1, tall / total))
        left.set(xlim=(0, PAGE), ylim=(rows, 0))  # inches, lines
        left.set_axis_off()
        right = fig.add_axes((AXIS / PAGE, foot / total, (PAGE - AXIS - 0.1) / PAGE, tall / total))
        right.set(ylim=(rows, 0), yticks=[])
        right.spines["left"].set_visible(False)
        right.set_facecolor("none")
        forest.points_axis(right, _shown(table))
        right.axvline(0, color="#BBBBBB", linewidth=0.6, zorder=1)
        right.tick_params(top=True, labeltop=True)
        right.spines["top"].set_visible(True)
        scaled = f"linear up to ±{forest.LINEAR:g}, logarithmic beyond"
        right.set_xlabel(f"points; claims 10 and 14: percent\n{scaled}", fontsize=SIZE)
        for y, draw, content in lines:
            draw(left, right, y, content)
        board = board_of(table)
        counts = board[board["claim"].isin(list(claims.TESTS))]["status"].value_counts()
        said = ", ".join(f"{counts[status]} {status}" for status in LOOKS if status in counts)
        fig.text(
            0.5,
            1 - 0.1 / total,
            f"The paper's claims at {scale.name} scale, up to {scale.seeds} seeds: {said}",
            ha="center",
            va="center",
        )
        tried = textwrap.shorten(
            f"Tried on {_tried(table) or 'nothing, none has run yet'}", 140, placeholder=" …"
        )
        small: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SIZE, "color": PALE}
        fig.text(0.5, 1 - 0.25 / total, tried, **small)
        fig.text(0.5, 1 - 0.38 / total, TOGETHER, **small)
        fig.legend(handles=_legend(bool(beyond.note(fig))), loc="lower center", ncols=4, borderaxespad=0.2)
    return fig


def _lines(table: pd.DataFrame) -> tuple[list[tuple[float, Callable[..., None], object]], float]:
    """(line, what draws it, content) of every heading, claim and comparison, from the top; how many lines."""
    found: list[tuple[float, Callable[..., None], object]] = []
    y = 0.5
    for heading, numbers in GROUPS.items():
        judged = [number for number in numbers if (table["claim"] == number).any()]
        if not judged:
            continue
        found.append((y, _heading, heading))
        y += 1.2
        for number in judged:
            rows = table[table["claim"] == number]
            parts = [(_wrapped(label, LABEL), of) for label, of in _measured(rows)]
            widest = max((len(line) for labels, _ in parts for line in labels), default=0)
            words = _wrapped(rows["words"].iloc[0], min(38, 64 - widest))
            found.append((y, _claim, (number, rows["status"].iloc[0], words)))
            below = 0
            for labels, of_one in parts:
                found.append((y + below, _comparison, (number, labels, of_one)))
                below += len(labels)
            y += max(below, len(words)) + 0.4
        y += 0.15
    return found, y - 0.3


def _wrapped(text: str, wide: int) -> list[str]:
    """Lines of at most so many characters, as even as they can be."""
    lines = textwrap.wrap(text, wide, break_on_hyphens=False)
    even = -(-len(text) // max(len(lines), 1)) + 4
    evenly = textwrap.wrap(text, min(wide, even), break_on_hyphens=False)
    return evenly if len(evenly) == len(lines) else lines


def _measured(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(what is measured, its comparisons), in the claim's order."""
    if "measured" not in rows:
        return []
    return [(str(label), part) for label, part in rows.groupby("measured", sort=False)]


def _heading(left: Axes, right: Axes, y: float, words: str) -> None:
    left.text(0.06, y, words, fontsize=SIZE + 0.4, fontweight="bold", va="center", zorder=5)
    left.plot([0.06, PAGE - 0.06], [y - 0.75, y - 0.75], color="#999999", linewidth=0.5)


def _claim(left: Axes, right: Axes, y: float, content: tuple[int | str, str, list[str]]) -> None:
    number, status, words = content
    symbol, colour, ink = LOOKS[status]
    left.add_patch(Rectangle((0.06, y - 0.45), 0.15, 0.9, facecolor=colour, linewidth=0))
    left.text(0.135, y, symbol, color=ink, ha="center", va="center", fontsize=SIZE + 0.5, fontweight="bold")
    left.text(0.36, y, str(number), ha="right", va="center", fontsize=SIZE, fontweight="bold")
    for i, line in enumerate(words):
        left.text(0.41, y + i, symbols(line), va="center", fontsize=SIZE)


def _comparison(
    left: Axes, right: Axes, y: float, content: tuple[int | str, list[str], pd.DataFrame]
) -> None:
    number, labels, rows = content
    for i, line in enumerate(labels):
        left.text(AXIS - 0.06, y + i, symbols(line), ha="right", va="center", fontsize=SIZE)
    rows = rows.assign(**{name: rows[name] * _unit(number) for name in ("value", "low", "high")})
    there = rows[np.isfinite(rows["value"].astype(float))]
    ends = bounds(there["needed"].iloc[0]) if len(there) else None
    if ends is None:  # no number is held against another
        counts = rows["by the seeds"].value_counts()
        words = {YES: ("holds", "hold"), NO: ("fails", "fail")}
        words |= {state: (said, said) for state, said in ((UNDECIDED, "open"), (NOT_RUN, "not run"))}
        said = ", ".join(f"{n} {words[state][n > 1]}" for state, n in counts.items())
        right.text(0, y, said, transform=right.get_yaxis_transform(), fontsize=SIZE, color=PALE, va="center")
        return
    low, high = right.get_xlim()
    start, end = max(ends[0] * _unit(number), low), min(ends[1] * _unit(number), high)
    right.add_patch(Rectangle((start, y - 0.42), end - start, 0.84, facecolor=HOLDS, linewidth=0, zorder=0))
    for state, of_state in there.groupby("by the seeds"):
        look: dict[str, Any] = {"color": forest.STATES[state], "markeredgewidth": 0.9, "alpha": 0.6}
        right.plot(of_state["value"], [y] * len(of_state), zorder=2, **TICK, **look)
    telling = _telling(there)
    forest.effects(right, telling.assign(y=y, effect=telling["value"], state=telling["by the seeds"]))
    if (number, label := " ".join(labels)) in (paper := of_paper()):
        right.plot([paper[number, label]], [y], color="black", markeredgewidth=0.8, zorder=4, **DIAMOND)


def _unit(number: int | str) -> float:
    """Claim 10 counts shares: percent are shown."""
    return 100.0 if number == 10 else 1.0


def _telling(rows: pd.DataFrame) -> pd.DataFrame:
    """The comparison that decides: one that fails before one that is open, the least certain of them."""
    order = rows["by the seeds"].map({NO: 0, UNDECIDED: 1, NOT_RUN: 2, YES: 3})
    worst = rows[order == order.min()]
    return worst.loc[[worst["confidence"].astype(float).fillna(0).idxmin()]].astype(
        {"value": float, "low": float, "high": float}
    )


def _shown(table: pd.DataFrame) -> pd.Series:
    """What the axis has to hold: every effect, in its unit, and the paper's."""
    if "value" not in table:
        return pd.Series([-8.0, 10.0])
    drawn = table["needed"].map(lambda needed: bounds(needed) is not None)
    values = (table["value"].astype(float) * table["claim"].map(_unit))[drawn]
    return pd.concat([values[np.isfinite(values)], pd.Series(of_paper()), pd.Series([-8.0, 10.0])])


def _tried(table: pd.DataFrame) -> str:
    """The networks on each data set, over all claims."""
    found: dict[str, list[str]] = {}
    for cell in filter(None, board_of(table)["tried on"]):
        for part in cell.split("; "):
            names, data = part.split(" on ")
            found[data] = list(dict.fromkeys([*found.get(data, []), *names.split(", ")]))
    return "; ".join(f"{', '.join(names)} on {data}" for data, names in found.items())


def _legend(further: bool) -> list[Line2D | Patch]:
    marks: list[Line2D | Patch] = [
        Patch(facecolor=colour, label=f"{symbol} {status}") for status, (symbol, colour, _) in LOOKS.items()
    ]
    decides = f"decisive comparison, one-sided\n95 % bounds{' (arrow: further)' * further}"
    return [
        *marks,
        Patch(facecolor=HOLDS, label="where it holds"),
        Line2D([], [], color=PALE, marker="o", markersize=4, label=decides),
        Line2D([], [], color=PALE, label="others of the same kind", **TICK),
        Line2D([], [], color=PALE, linestyle="", label="the paper's numbers", **DIAMOND),
    ]
