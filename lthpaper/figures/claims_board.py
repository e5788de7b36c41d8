"""The scoreboard of the paper's claims: one row a claim, its status, our numbers, the paper's."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lthpaper.figures import FIGURES, FigureSpec, register
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.verdicts import claims
from lthpaper.verdicts.claims.outcome import CONTRADICTED, SUPPORTED
from lthpaper.verdicts.conditions import NOT_RUN, UNDECIDED

# Okabe and Ito's blue, vermilion and yellow differ in lightness too; the symbol says it without colour.
LOOKS = {
    SUPPORTED: ("✓", "#0072B2", "white"),
    CONTRADICTED: ("✗", "#D55E00", "white"),
    UNDECIDED: ("?", "#F3E79B", "black"),
    NOT_RUN: ("–", "#EEEEEE", "#555555"),
}
COLUMNS = {"claim": 0.22, "words": 1.9, "status": 1.05, "ours": 2.15, "paper": 1.5}  # inches
HEADS = {"claim": "", "words": "claim", "status": "by the seeds", "ours": "ours", "paper": "the paper"}
EMPTY = {"words": "", "ours": "–", "paper": "no number"}
SIZE, LINE, GAP, PAD = 6.3, 0.112, 0.045, 0.05  # points; inches
CHARACTERS = 20.5  # an inch, of text in SIZE points


def trials(scale: Scale) -> list[Trial]:
    """The runs of all claims."""
    return claims.trials(scale)


def keep(scale: Scale) -> Mapping[Run, frozenset[int]]:
    """The snapshots of the figures whose runs the claims read."""
    found: dict[Run, frozenset[int]] = {}
    for name in claims.figures():
        for run, epochs in FIGURES[name].keep(scale).items():
            found[run] = found.get(run, frozenset()) | epochs
    return found


def measure(
    trials: list[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """claims.scoreboard; the loss surfaces of runs that are there are evaluated."""
    return claims.scoreboard(scale, store, data_root, surfaces=True)


def tabulate(board: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The scoreboard's short columns, as text."""
    short = board[["claim", "words", "status", "by the means", "ours", "paper", "tried on"]]
    return short.set_index("claim")


def plot(board: pd.DataFrame, scale: Scale) -> Figure:
    """A table picture; in small, what the means alone say where that is something else."""
    rows = [_lines(row) for row in board.to_dict("records")]
    heights = [max(map(len, row.values())) * LINE + 2 * PAD for row in rows]
    foot = textwrap.wrap(f"Tried on: {_tried(board) or 'nothing, none has run yet'}.", 140)
    top = 0.42
    height = top + sum(heights) + 0.12 + LINE * len(foot) + 0.08
    with paper_style(), plt.rc_context({"figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(PAGE, height))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, PAGE), ylim=(height, 0))  # inches, downwards
        ax.set_axis_off()
        counts = board["status"].value_counts()
        said = ", ".join(f"{counts[status]} {status}" for status in LOOKS if status in counts)
        ax.text(PAD, 0.13, f"The paper's claims at {scale.name} scale: {said}", va="center", fontsize=8)
        _line(ax, top - 0.2, 0.8)
        for name, x in _places().items():
            ax.text(x, top - 0.1, HEADS[name], va="center", fontsize=SIZE, fontweight="bold")
        y = top
        for row, status, tall in zip(rows, board["status"], heights, strict=True):
            _line(ax, y, 0.4)
            _row(ax, row, status, y, tall)
            y += tall
        _line(ax, y, 0.8)
        for n, line in enumerate(foot):
            ax.text(PAD, y + 0.12 + n * LINE, line, va="center", fontsize=SIZE - 0.5, color="#444444")
    return fig


def _tried(board: pd.DataFrame) -> str:
    """The networks on each data set, over all claims."""
    found: dict[str, list[str]] = {}
    for cell in filter(None, board["tried on"]):
        for part in cell.split("; "):
            names, data = part.split(" on ")
            found[data] = list(dict.fromkeys([*found.get(data, []), *names.split(", ")]))
    return "; ".join(f"{', '.join(names)} on {data}" for data, names in found.items())


def _lines(row: dict[str, object]) -> dict[str, list[str]]:
    """A row's cells as lines of text that fit their columns."""
    symbol = LOOKS[row["status"]][0]
    status = [f"{symbol} {row['status']}"]
    if row["by the means"] != row["status"]:
        status.append(f"means: {row['by the means']}")
    cells: dict[str, list[str]] = {"claim": [str(row["claim"])], "status": status}
    for name in ("words", "ours", "paper"):
        wide = int((COLUMNS[name] - GAP) * CHARACTERS)
        parts = str(row[name] or EMPTY[name]).split("; ")
        cells[name] = [line for part in parts for line in _wrap(part, wide)]
    return cells


def _wrap(text: str, wide: int) -> list[str]:
    """Lines of at most so many characters; a number stays with its sign, its range and its relation."""
    together = re.sub(r"(?<=[…<>≥≈]) | (?=[…+−])(?=\S+)", "\u00a0", text)
    return textwrap.wrap(together, wide, break_on_hyphens=False) or [""]


def _row(ax: Axes, cells: dict[str, list[str]], status: str, y: float, tall: float) -> None:
    _, background, ink = LOOKS[status]
    for name, x in _places().items():
        if name == "status":
            box = Rectangle((x - GAP, y + 0.02), COLUMNS[name] - GAP, tall - 0.04)
            box.set(color=background, linewidth=0)
            ax.add_patch(box)
        lines = cells[name]
        for n, text in enumerate(lines):
            ax.text(
                x,
                y + tall / 2 + (n - (len(lines) - 1) / 2) * LINE,
                text,
                va="center",
                fontsize=SIZE + (1 if name == "status" and n == 0 else 0),
                fontweight="bold" if name == "claim" or (name == "status" and n == 0) else "normal",
                color=ink if name == "status" else "black",
            )


def _places() -> dict[str, float]:
    """Left edge of each column's text, inches."""
    edges, x = {}, PAD
    for name, wide in COLUMNS.items():
        edges[name] = x
        x += wide + GAP / 2
    return edges


def _line(ax: Axes, y: float, thickness: float) -> None:
    ax.plot([PAD, PAGE - PAD], [y, y], color="black", linewidth=thickness, zorder=0)


register(
    "claims",
    FigureSpec("The paper's fourteen claims and how they fare", trials, plot, keep, tabulate, measure),
)
