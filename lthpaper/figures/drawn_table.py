"""A DataFrame as a clean picture: rules above, below and under the head, columns as wide as their text."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from lthpaper.figures.style import PAGE, paper_style

LARGEST, SMALLEST = 7.0, 6.0  # points; below the smallest, long cells are broken, then the picture grows
LEADING = 1.35  # lines, in font sizes
LEAST = 4.5  # inches: a narrow table is so wide
GAP, MARGIN = 0.14, 0.08  # inches, between columns and around
POINTS = 72.0  # an inch
NUMBER = re.compile(r"[\d,.+−×x/ \n]*M?")  # a column of such cells is set flush right


def draw_table(
    table: pd.DataFrame,
    title: str = "",
    notes: Sequence[str] = (),
    rules: Sequence[int] = (),
) -> Figure:
    """The table with its index as first column. Cells break at semicolons.

    rules: rows below which a thin line is drawn. Text shrinks to fit a page's width, down to 6 points; then
    long cells are broken into lines.
    """
    head = [str(table.index.name or ""), *map(str, table.columns)]
    body = [[str(i), *map(str, values)] for i, values in zip(table.index, table.to_numpy(), strict=True)]
    cells = [[cell.replace("; ", "\n") for cell in row] for row in (head, *body)]
    with paper_style(), plt.rc_context({"figure.constrained_layout.use": False}):
        cells = _fitting(cells)
        size, widths = _sizes(cells)
        line = size * LEADING / POINTS
        heights = [(max(cell.count("\n") for cell in row) + 1) * line + 0.06 for row in cells]
        needed = _whole(widths)
        width = max(needed, LEAST)
        gap = GAP + (width - needed) / max(len(widths) - 1, 1)  # a narrow table fills its width
        small = max(size - 0.5, SMALLEST)
        notes = [wrapped for note in notes for wrapped in _wrap(note, 0.96 * (width - 2 * MARGIN), small)]
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
        right = [all(NUMBER.fullmatch(row[i]) for row in cells[1:]) for i in range(len(cells[0]))]
        for number, (row, tall) in enumerate(zip(cells, heights, strict=True)):
            x = MARGIN
            for cell, wide, numeric in zip(row, widths, right, strict=True):
                weight = "bold" if number == 0 else "normal"
                lines = cell.split("\n")
                for n, text in enumerate(lines):  # a cell's baseline must not depend on its letters
                    below = (n - (len(lines) - 1) / 2) * line + 0.35 * size / POINTS
                    at: dict[str, Any] = {"x": x + wide, "ha": "right"} if numeric else {"x": x, "ha": "left"}
                    look: dict[str, Any] = {"va": "baseline", "fontsize": size, "fontweight": weight}
                    ax.text(y=y + tall / 2 + below, s=text, **at, **look)
                x += wide + gap
            y += tall
            if number in (0, len(cells) - 1) or number in rules:
                _rule(ax, width, y, 0.8 if number == len(cells) - 1 else 0.4)
        for number, note in enumerate(notes):
            ax.text(
                MARGIN,
                y + 0.1 + number * line,
                note,
                va="top",
                fontsize=small,
                color="#444444",
            )
    return fig


def _sizes(cells: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Font size in points and the columns' widths in inches."""
    at_one = _widths(cells, 1.0)
    room = PAGE - 2 * MARGIN - GAP * (len(at_one) - 1)
    size = min(LARGEST, max(SMALLEST, room / sum(at_one)))
    return size, [w * size for w in at_one]


def _widths(cells: Sequence[Sequence[str]], size: float) -> list[float]:
    """The width of each column, inches. The first row is bold."""
    columns = zip(*cells, strict=True)
    return [max(_width(cell, size, bold=n == 0) for n, cell in enumerate(column)) for column in columns]


def _whole(widths: Sequence[float]) -> float:
    """The width of a table, inches: its columns, the gaps between them and the margins."""
    return sum(widths) + GAP * (len(widths) - 1) + 2 * MARGIN


def _fitting(cells: list[list[str]]) -> list[list[str]]:
    """The cells with the widest column broken at spaces, again and again, until the table fits a page."""
    cells = [list(row) for row in cells]
    for _ in range(200):
        widths = _widths(cells, SMALLEST)
        if _whole(widths) <= PAGE:
            break
        for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
            broken = [_narrower(row[i], 0.88 * widths[i], bold=n == 0) for n, row in enumerate(cells)]
            after = max(_width(cell, SMALLEST, bold=n == 0) for n, cell in enumerate(broken))
            if after < widths[i] - 1e-6:
                for row, cell in zip(cells, broken, strict=True):
                    row[i] = cell
                break
        else:
            break  # nothing is left to break
    return cells


def _narrower(cell: str, width: float, bold: bool) -> str:
    """A cell whose lines are broken at spaces to fit a width in inches, if they can be."""
    lines = [part for line in cell.split("\n") for part in _wrap(line, width, SMALLEST, bold)]
    return "\n".join(lines)


def _width(text: str, size: float, bold: bool = False) -> float:
    """Inches of the longest line."""
    lines = [line for line in text.split("\n") if line.strip()]
    return max((_extent(line, bold) for line in lines), default=0.0) * size / 100 / POINTS


@lru_cache(maxsize=4096)
def _extent(line: str, bold: bool) -> float:
    """Width at 100 points: a path's own hinting is coarse at one point."""
    font = FontProperties(weight="bold" if bold else "normal")
    path = TextPath((0, 0), line, size=100, prop=font)
    x, starts = path.vertices[:, 0], np.flatnonzero(path.codes == Path.MOVETO)
    # an outline whose points all lie left of one that is on a curve does not reach the right edge
    on_curve = x[path.codes <= Path.LINETO].max()
    last = starts[np.argmax(np.maximum.reduceat(x, starts) >= on_curve)]
    return float(Path(path.vertices[last:], path.codes[last:]).get_extents().x1)


def _wrap(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Lines that fit a width in inches, as far as its words do."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size, bold) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _rule(ax: plt.Axes, width: float, y: float, thickness: float) -> None:
    ax.plot([MARGIN, width - MARGIN], [y, y], color="black", linewidth=thickness)
