"""A DataFrame as a clean picture: rules above, below and under the head, columns as wide as their text."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from lthpaper.figures.style import PAGE, paper_style

LARGEST, SMALLEST = 7.5, 5.5  # points; below the smallest the picture grows wider than a page instead
LEADING = 1.35  # lines, in font sizes
GAP, MARGIN = 0.14, 0.08  # inches, between columns and around
POINTS = 72.0  # an inch


def draw_table(
    table: pd.DataFrame,
    title: str = "",
    notes: Sequence[str] = (),
    split: str = "; ",
    rules: Sequence[int] = (),
) -> Figure:
    """The table with its index as first column. Cells break at `split`.

    rules: rows below which a thin line is drawn. Text shrinks to fit a page's width, down to 5.5 points.
    """
    head = [str(table.index.name or ""), *map(str, table.columns)]
    body = [[str(i), *map(str, values)] for i, values in zip(table.index, table.to_numpy(), strict=True)]
    cells = [[cell.replace(split, "\n") for cell in row] for row in (head, *body)]
    with paper_style(), plt.rc_context({"figure.constrained_layout.use": False}):
        size, widths = _sizes(cells)
        line = size * LEADING / POINTS
        heights = [(max(cell.count("\n") for cell in row) + 1) * line + 0.06 for row in cells]
        width = max(sum(widths) + GAP * (len(widths) - 1) + 2 * MARGIN, 4.5)
        notes = [wrapped for note in notes for wrapped in _wrap(note, width - 2 * MARGIN, size)]
        top = MARGIN + (line + 0.08 if title else 0)
        height = top + sum(heights) + 0.12 + line * len(notes) + MARGIN
        fig = plt.figure(figsize=(width, height))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(height, 0))  # inches, downwards
        ax.set_axis_off()
        if title:
            ax.text(MARGIN, MARGIN, title, va="top", fontsize=size + 0.5, fontweight="bold")
        _rule(ax, width, top, 0.8)
        y = top
        for number, (row, tall) in enumerate(zip(cells, heights, strict=True)):
            x = MARGIN
            for cell, wide in zip(row, widths, strict=True):
                weight = "bold" if number == 0 else "normal"
                lines = cell.split("\n")
                for n, text in enumerate(lines):  # one by one: a cell's baseline must not hang on its letters
                    below = (n - (len(lines) - 1) / 2) * line + 0.35 * size / POINTS
                    ax.text(x, y + tall / 2 + below, text, va="baseline", fontsize=size, fontweight=weight)
                x += wide + GAP
            y += tall
            if number in (0, len(cells) - 1) or number in rules:
                _rule(ax, width, y, 0.8 if number == len(cells) - 1 else 0.4)
        for number, note in enumerate(notes):
            ax.text(MARGIN, y + 0.1 + number * line, note, va="top", fontsize=size - 0.5, color="#444444")
    return fig


def _sizes(cells: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Font size in points and the columns' widths in inches."""
    at_one = [
        max(_width(cell, 1.0, bold=n == 0) for n, cell in enumerate(column))
        for column in zip(*cells, strict=True)
    ]
    room = PAGE - 2 * MARGIN - GAP * (len(at_one) - 1)
    size = min(LARGEST, max(SMALLEST, room / sum(at_one)))
    return size, [w * size for w in at_one]


def _width(text: str, size: float, bold: bool = False) -> float:
    """Inches of the longest line."""
    font = FontProperties(weight="bold" if bold else "normal")
    lines = [line for line in text.split("\n") if line.strip()]
    # measured large: a path's own hinting is coarse at one point
    extents = [TextPath((0, 0), line, size=100, prop=font).get_extents() for line in lines]
    return max((e.x1 for e in extents), default=0.0) * size / 100 / POINTS


def _wrap(text: str, width: float, size: float) -> list[str]:
    """Lines that fit a width in inches."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _rule(ax: plt.Axes, width: float, y: float, thickness: float) -> None:
    ax.plot([MARGIN, width - MARGIN], [y, y], color="black", linewidth=thickness)
