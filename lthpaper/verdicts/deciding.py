"""Seeds until decided: which cells still need seeds, when to give up, and what looking repeatedly costs.

Everything is trained with LOOKS[0] seeds. At each look, a verdict that is decided gets no more seeds. Nor
does one that is hopeless: by what the seeds say so far, the chance that the most seeds decide it is below
HOPELESS. For the others seeds go where the verdict rests:

- on every condition that is open, if by the means it is a ticket, which needs them all; if by the means it
  is none, on the condition that fails most surely, since one is enough;
- on ③m too, if it is asked and open;
- of these, on the cells that may be the best of their side, and on those that stand in the way: the
  learning rates of the other side that are not yet beaten (of LT, where the condition fails).

The next look is at the next number of seeds. Who looks eight times has eight chances to be fooled. So each
look asks for more: the level at which the largest of the looks' test statistics, correlated as means over
growing numbers of seeds are (√(n/m)), exceeds by luck with probability 1 − `level` in all (Pocock 1977).
Stopping for want of hope calls nothing, so it costs no error. That a cell has more seeds because it was in
contention breaks the exact arithmetic; docs/statistics.md has the simulated errors and costs.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from scipy import special

from lthpaper.errors import require
from lthpaper.paper import Thresholds
from lthpaper.verdicts.cells import Side, pairs_of
from lthpaper.verdicts.conditions import Condition
from lthpaper.verdicts.evidence import UNDECIDED, YES, always_signed
from lthpaper.verdicts.luck import Paired, Rivals, contending, typical_error
from lthpaper.verdicts.scatter import Cells
from lthpaper.verdicts.tickets import EITHER, Verdict, control_sides, sides, verdict
from lthpaper.verdicts.uncertainty import arrays, paired

LOOKS = (2, 3, 4, 6, 8, 11, 15, 20)  # seeds
BEST = 1.5  # a cell that many typical standard errors below its side's best may be the best
HOPELESS = 0.3  # the chance to decide below which no more seeds are trained
OPEN = (UNDECIDED, EITHER)
TICKET = (2, 3, 4)  # the conditions of a ticket that seeds decide
OTHER = {2: 2, 3: 1, 4: 3, 5: 3}  # whom LT is held against, in the order LT, RR, SDT, pretraining
Places = frozenset[tuple[str, float]]  # (setting, learning rate)


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


@dataclass(frozen=True)
class Contest:
    """One of ② to ⑤ while seeds are added: is the best of ours `margin` above the best of theirs?

    holds: by the means. level: at which it is called; failing: the same for its failing alone, where it takes
    more (`conditions.unfulfilled`). Arrays are of one table, (cells,).
    """

    test: Rivals | Paired
    margin: float
    holds: bool
    level: float
    failing: float

    @cached_property
    def above(self) -> np.ndarray:
        """p-values of the best of ours lying above each of theirs (pairs: one, of any lying above)."""
        test = self.test
        return np.atleast_1d(test.yes(self.margin) if isinstance(test, Paired) else test.above(self.margin))

    @cached_property
    def below(self) -> np.ndarray:
        """p-values of each of ours (each pair) lying below."""
        return self.test.below(self.margin)

    @property
    def called(self) -> bool:
        return bool((self.above if self.holds else self.below).max() <= 1 - self.level)

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Which of ours and of theirs need seeds (of pairs: both have the same)."""
        test = self.test
        if isinstance(test, Paired):
            best = _best(test.cells)
            ours = best if self.holds else best | (self.below > 1 - self.failing)
            return ours, ours
        ours, theirs = _best(test.ours), _best(test.theirs)
        if self.holds:
            return ours, theirs | (self.above > 1 - self.level)
        return ours | (self.below > 1 - self.failing), theirs

    def chances(self, part: float) -> tuple[float, float]:
        """That it is called to hold, to fail, once all have the most seeds. part: of these, what they have.

        The statistic then is the one now and that of the seeds to come, whose expectation is as uncertain as
        the seeds so far leave it: z(1) is normal around z/√part with variance (1 − part)/part.
        """
        z, among = self._score, self.test.chances
        found = [
            special.ndtr((way * z + special.ndtri((1 - level) / k) * np.sqrt(part)) / np.sqrt(1 - part))
            for way, level, k in zip((1, -1), (self.level, self.failing), among, strict=True)
        ]
        return float(found[0]), float(found[1])

    @property
    def _score(self) -> float:
        """The difference's distance from the margin in typical standard errors."""
        test = self.test
        if isinstance(test, Paired):
            return _ratio(test.cells.means.max() - self.margin, _error(test.cells))
        difference = test.ours.means.max() - test.theirs.means.max()
        return _ratio(difference - self.margin, np.hypot(_error(test.ours), _error(test.theirs)))


@dataclass(frozen=True)
class Contests:
    """② to ⑤ of one check, by number.

    of: those that seeds can decide. given: what the others are called without (a side diverged, or has not
    run). seeds, most: what the verdict rests on has now, and at most.
    """

    of: Mapping[int, Contest]
    given: Mapping[int, str]
    seeds: int
    most: int

    @property
    def open(self) -> tuple[int, ...]:
        """The conditions that seeds should go to."""
        failing = [n for n in TICKET if n in self.of and not self.of[n].holds]
        if failing:
            return (min(failing, key=lambda n: self.of[n].below.max()),)
        return tuple(n for n, c in self.of.items() if not (c.called or (n == 4 and self._holds(5))))

    @property
    def hope(self) -> float:
        """The chance that the most seeds decide the kind, by what the seeds say so far: a ticket takes the
        least likely of its conditions, "none" the likeliest to fail."""
        if self.seeds >= self.most:
            return 0.0
        chances = {n: c.chances(self.seeds / self.most) for n, c in self.of.items()}
        holds = {n: 1.0 if self._holds(n) else chances[n][0] if n in chances else 0.0 for n in (*TICKET, 5)}
        fifth = 1.0 if 5 not in self.of or self.of[5].called else min(1.0, sum(chances[5]))
        ticket = min(holds[2], holds[3], max(holds[4], holds[5]), fifth)
        return min(1.0, ticket + max((chances[n][1] for n in TICKET if n in chances), default=0.0))

    def _holds(self, number: int) -> bool:
        """Whether it is called to hold."""
        if number in self.of:
            return self.of[number].holds and self.of[number].called
        return self.given.get(number) == YES


def contested(
    table: pd.DataFrame,
    thresholds: Thresholds | None,
    prunings: Iterable[str | None],
    level: float,
    most: int = LOOKS[-1],
) -> Places:
    """(setting, learning rate) of the cells that need more seeds, of one sparsity; empty if all verdicts are
    decided at `level`, or hopeless."""
    found: set[tuple[str, float]] = set()
    for pruning in prunings:
        judged = verdict(table, thresholds, pruning, level=level, quick=True)
        four = sides(table, pruning, "LT")
        if judged.kind_ours in OPEN:
            contests = _contests(judged.conditions[1:], four, level, most)
            if contests.hope >= HOPELESS:
                for number in contests.open:
                    found |= _places(contests.of[number], four[0], four[OTHER[number]])
        if judged.shuffled and judged.shuffled.holds_ours == UNDECIDED and not judged.shuffled.open:
            found |= _against_shuffled(
                judged.shuffled, four[0], control_sides(table, four[0])["m"], level, most
            )
    return frozenset(found)


def too_close(judged: Verdict, most: int) -> str:
    """Why no more seeds are worth it, in a sentence; "" for a verdict that is decided, or lacks runs."""
    between = "; ".join(
        f"{c.symbol} is between {always_signed(c.low)} and {always_signed(c.high)} points, its threshold "
        f"{always_signed(c.threshold)}"
        for c in judged.conditions[1:]
        if c.holds_ours == UNDECIDED and c.low is not None and c.high is not None
    )
    if judged.kind_ours not in OPEN or not between:
        return ""
    return f"{judged.about}: too close to call within {most} seeds. {between}."


def _against_shuffled(stricter: Condition, lt: Side, against: Side, level: float, most: int) -> Places:
    """Of ③m, which no verdict rests on: by itself."""
    test = Rivals(arrays(lt.cells), arrays(against.cells))
    part = _seeds(lt) / most
    if not test.spread or part >= 1:
        return frozenset()
    contest = Contest(test, stricter.threshold, stricter.holds == YES, level, level)
    return _places(contest, lt, against) if sum(contest.chances(part)) >= HOPELESS else frozenset()


def _contests(conditions: Sequence[Condition], four: Sequence[Side], level: float, most: int) -> Contests:
    """From ② to ⑤ as judged at `level`, and LT, RR, SDT and pretraining."""
    of, given, lt = {}, {}, four[0]
    tried = sum(c.confidence is not None for c in conditions[:3])
    for c in conditions:
        other = four[OTHER[c.number]]
        test = None if c.open or not (lt.cells and other.cells) else _test(c.number, lt, other)
        if test is None or not test.spread:
            given[c.number] = c.holds_ours
            continue
        failing = level if c.number == 5 else 1 - (1 - level) / max(tried, 1)
        of[c.number] = Contest(test, c.threshold, c.holds == YES, level, failing)
    return Contests(of, given, _seeds(lt), most)


def _seeds(side: Side) -> int:
    return max((c.seeds for c in side.cells), default=0)


def _test(number: int, lt: Side, other: Side) -> Rivals | Paired | None:
    if number != 4:
        return Rivals(arrays(lt.cells), arrays(other.cells))
    pairs = pairs_of(lt.cells, other.cells)
    return paired(pairs) if pairs else None


def _places(contest: Contest, lt: Side, other: Side) -> Places:
    """Of the cells that need seeds."""
    ours, theirs = contest.cells
    of_lt, of_other = lt.cells, other.cells
    if isinstance(contest.test, Paired):
        of_lt, of_other = zip(*pairs_of(lt.cells, other.cells), strict=True)
    cells = [*zip(of_lt, ours, strict=True), *zip(of_other, theirs, strict=True)]
    return frozenset(cell.place for cell, needed in cells if needed)


def _best(cells: Cells) -> np.ndarray:
    """(cells,): which may be the best of their side."""
    return contending(cells, 0.0, BEST)


def _error(cells: Cells) -> float:
    """Of the best cell's mean, if it scatters as the median cell does."""
    seeds = cells.seeds[cells.means.argmax()]
    return float(typical_error(replace(cells, variances=cells.variances * cells.seeds / seeds)))


def _ratio(difference: float, error: float) -> float:
    return float(difference) / max(error, 1e-9)
