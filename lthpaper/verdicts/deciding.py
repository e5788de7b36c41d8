"""Seeds until decided: which cells still need seeds, and what looking repeatedly costs.

Everything is trained with LOOKS[0] seeds. At each look, every verdict that is decided gets no more seeds; of
one that is not, the conditions that are open do, and of these the cells that could still be the best of their
side. The next look is at the next number of seeds. So seeds go where the answer lies.

Who looks five times has five chances to be fooled. So each look asks for more: the level at which the
largest of the looks' test statistics, correlated as means over growing numbers of seeds are (√(n/m)),
exceeds by luck with probability 1 − `level` in all (Pocock 1977). That a cell has more seeds because it was
in contention breaks the exact arithmetic; docs/statistics.md has the simulated errors.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import special

from lthpaper.errors import require
from lthpaper.paper import Thresholds
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.conditions import Condition
from lthpaper.verdicts.evidence import NO, UNDECIDED, YES
from lthpaper.verdicts.luck import contending
from lthpaper.verdicts.tickets import EITHER, sides, verdict
from lthpaper.verdicts.uncertainty import Cell, arrays

LOOKS = (3, 5, 8, 13, 20)  # seeds
ERRORS = 3.0  # a cell that many typical standard errors below the best gets no more seeds
OPEN = (UNDECIDED, EITHER)
Cells = frozenset[tuple[str, float]]  # (setting, learning rate)


def looks(most: int) -> tuple[int, ...]:
    """Numbers of seeds at which to look, the last being `most`."""
    require(
        type(most) is int and most >= LOOKS[0],
        f"The most seeds is {most!r}; it must be a whole number from {LOOKS[0]}, which is where one begins.",
    )
    return (*(n for n in LOOKS if n < most), most)


@lru_cache(maxsize=64)
def level_of_a_look(at: tuple[int, ...], level: float) -> float:
    """The level at which each look is judged, so that all together err with probability 1 − level.

    For the running mean of normal seeds: P(Z_k > z at any look) = 1 − level, by integrating over Z_k in turn.
    """
    grid = np.linspace(-8.0, 8.0, 401)
    step = grid[1] - grid[0]

    def never(z: float) -> float:
        below = np.where(grid < z, 1.0, 0.0) + np.where(np.isclose(grid, z), 0.5, 0.0)
        density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
        for before, now in itertools.pairwise(at):
            r = np.sqrt(before / now)
            apart = (grid[:, None] - r * grid) / np.sqrt(1 - r**2)
            kernel = np.exp(-(apart**2) / 2) / np.sqrt(2 * np.pi * (1 - r**2))
            density = kernel @ (density * below) * step
        return float((density * below).sum() * step)

    if len(at) == 1:
        return level
    # on a grid `never` moves in steps of the grid: interpolate between its points
    zs = grid[
        (grid > special.ndtri(level) - step) & (grid < special.ndtri(1 - (1 - level) / len(at)) + 2 * step)
    ]
    found = np.array([never(z) for z in zs])
    return float(special.ndtr(np.interp(level, found, zs)))


def contested(
    table: pd.DataFrame,
    thresholds: Thresholds | None,
    prunings: Iterable[str | None],
    level: float,
    subnetwork: str = "LT",
) -> Cells:
    """(setting, learning rate) of the cells whose seeds could decide what is open, of one sparsity; empty if
    all is decided at `level`."""
    found: set[tuple[str, float]] = set()
    for pruning in prunings:
        judged = verdict(table, thresholds, pruning, subnetwork, level=level)
        if judged.kind_ours in OPEN:
            found |= _of(judged.conditions, sides(table, pruning, subnetwork))
    return frozenset(found)


def _of(conditions: Sequence[Condition], four: Sequence[Side]) -> set[tuple[str, float]]:
    """Cells of the conditions that are open. ⑤ is asked only once ① to ④ hold: before, it decides nothing."""
    lt, rr, sdt, dense = four
    ticket = all(c.holds_ours == YES for c in conditions[:4])
    found: set[tuple[str, float]] = set()
    for c, other in zip(conditions[1:], (sdt, rr, dense, dense), strict=True):
        settled = c.holds_ours == YES or (c.holds_ours == NO and c.number == 5)
        if settled or c.open or (c.number == 5 and not ticket) or not (lt.cells and other.cells):
            continue
        if c.number == 4:
            pairs = [(a, b) for a in lt.cells for b in other.cells if a.lr == b.lr]
            found |= {x for i in _near([a.less(b) for a, b in pairs]) for x in map(_name, pairs[i])}
        else:
            found |= {_name(side.cells[i]) for side in (lt, other) for i in _near(side.cells)}
    return found


def _near(cells: Sequence[Cell]) -> list[int]:
    """Which could be the best."""
    return list(np.flatnonzero(contending(arrays(cells), 0.0, ERRORS))) if cells else []


def _name(cell: Cell) -> tuple[str, float]:
    return cell.setting, cell.lr
