"""Is the best of these better than the best of those? Few seeds, several learning rates.

A *cell* is one setting at one learning rate; its seeds' accuracies are taken as independent and normal
around its true mean. The best of seven observed means lies above the best true mean: luck is favoured,
most where the curve is flat. So the observed maximum is never taken for the true one, and
"max_l L_l − max_r R_r > margin" is asked as it is meant: *some* l beats *every* r by more than that.

- Take any r. Were it the truly best of its side and the answer no, every L_l would truly lie within the
  margin of it. p_r is then the probability that noise alone lifts some of the k that luck can choose from as
  far above R_r + margin as the observed best l lies: R_r falls by luck, and given its fall, any of k may
  rise. That is Dunnett's test, for cells that need not scatter alike; how much each does is
  `lthpaper.verdicts.scatter`'s: its own variance where it shows, the common one elsewhere.
- Which r is the truly best is unknown, so the answer is called true with p = max_r p_r, without a correction
  for r (intersection-union). It is called false the same way with the roles exchanged.
- Differences at the same learning rate (④) are taken seed by seed: what LT and pretraining of one seed
  share (θ0, the order of the data) cancels. Called true by the smallest of k p-values again; called
  false by the largest, since it has to fail at every learning rate.

Each call is then wrong with probability at most 1 − level, whatever the true curves, as far as a few
seeds can tell how much a cell scatters: docs/statistics.md has the simulated rates and the limits.

Contenders are the cells near their side's best: within 2 points or 5 typical standard errors of it,
whichever is more. They alone can be the best, so k counts them alone; and they alone say what the common
scatter is, since learning rates that are far too small or too large scatter differently. Between
different learning rates seeds are not paired: what they share makes them correlate, so ignoring it
is cautious. Nothing is drawn at random: the same table gives the same number.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy
from scipy import special

from lthpaper.verdicts.luck import Paired, Rivals
from lthpaper.verdicts.scatter import Cells

POWER = 0.8  # "likely to settle it"
MOST_SEEDS = 10_000  # if not even this many would do, a difference sits on its threshold
DECIMALS = 9  # accuracies are k/N in floats: 64.1 − 63.6 is 0.5
FAR = 1e3  # points: no bound lies further away


@dataclass(frozen=True)
class Cell:
    """Accuracies (percent) of one setting at one learning rate, one per seed, all finite.

    numbers: the seeds, in the same order; 0, 1, … unless given. grain: points that one test image is worth.
    """

    setting: str
    lr: float
    accuracies: tuple[float, ...]
    numbers: tuple[int, ...] = ()
    grain: float = 0.01

    def __post_init__(self):
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(len(self.accuracies))))

    @property
    def seeds(self) -> int:
        return len(self.accuracies)

    @property
    def place(self) -> tuple[str, float]:
        """(setting, learning rate)."""
        return self.setting, self.lr

    @cached_property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.numbers, self.accuracies, strict=True))

    @cached_property
    def mean(self) -> float:
        return math.fsum(self.accuracies) / self.seeds

    @cached_property
    def variance(self) -> float:
        """Of one run, by the seeds, and not below that of half a test image: of few images, seeds that
        scatter often agree to the last one by chance. 0 for one seed."""
        squares = math.fsum((a - self.mean) ** 2 for a in self.accuracies)
        return max(squares / (self.seeds - 1), self.grain**2 / 4) if self.seeds > 1 else 0.0

    @cached_property
    def skew(self) -> float:
        """Sample skewness, unbiased for normal seeds; 0 for fewer than three, or no spread."""
        n, m = self.seeds, self.mean
        if n < 3 or self.variance < 1e-12:
            return 0.0
        return n / ((n - 1) * (n - 2)) * math.fsum((a - m) ** 3 for a in self.accuracies) / self.variance**1.5

    def common_with(self, other: "Cell") -> "Cell":
        """The same with the seeds that both have, in order; with as many as both have where none is common
        (draws that share nothing may be paired in any order)."""
        numbers = tuple(n for n in sorted(self.numbers) if n in other.by_seed)
        numbers = numbers or self.numbers[: min(self.seeds, other.seeds)]
        return replace(self, accuracies=tuple(self.by_seed[n] for n in numbers), numbers=numbers)

    def less(self, other: "Cell") -> "Cell":
        """The differences, seed by seed, of two cells with the same seeds (`common_with`)."""
        found = tuple(a - b for a, b in zip(self.accuracies, other.accuracies, strict=True))
        return Cell(f"{self.setting} − {other.setting}", self.lr, found, grain=self.grain)


@dataclass(frozen=True)
class Comparison:
    """Best of one side against another, against a margin.

    difference: of the means, points. holds: is it beyond the margin, by the means, or what was `said`?
    winners: every cell that is by itself. confidence: that `holds` is right, in [0, 1]; None where a side
    has one seed per cell. low, high: bounds on the true difference, each at `level`. more_seeds: for each
    setting, to reach `level` with a chance of 80 % if the difference is as it seems (normal approximation);
    0 if it is reached, None if the difference does not favour the answer or there is no spread to go by.
    """

    difference: float
    holds: bool
    best: Cell
    against: Cell
    winners: tuple[Cell, ...]
    confidence: float | None = None
    low: float | None = None
    high: float | None = None
    more_seeds: int | None = None


def best_against_best(
    ours: Sequence[Cell],
    theirs: Sequence[Cell],
    margin: float,
    strict: bool,
    level: float = 0.95,
    bounds: bool = True,
    said: bool | None = None,
) -> Comparison:
    """Is the best of `ours` more than `margin` above the best of `theirs` (`strict`), or at least that?

    said: an answer that something else than these means gave, and whose confidence is asked."""
    best, against = max(ours, key=lambda c: c.mean), max(theirs, key=lambda c: c.mean)
    difference = best.mean - against.mean
    winners = tuple(a for a in ours if beyond(a.mean - against.mean, margin, strict))
    holds = beyond(difference, margin, strict) if said is None else said
    found = Comparison(difference, holds, best, against, winners)
    return _judged(found, Rivals(arrays(ours), arrays(theirs)), margin, level, bounds)


def best_pair(
    pairs: Sequence[tuple[Cell, Cell]],
    margin: float,
    strict: bool,
    level: float = 0.95,
    bounds: bool = True,
    said: bool | None = None,
) -> Comparison:
    """Is some pair's first more than `margin` above its second (`strict`), or at least that? The cells of a
    pair have the same seeds; said: as of `best_against_best`."""
    gaps = [a.mean - b.mean for a, b in pairs]
    winners = tuple(a for (a, _), gap in zip(pairs, gaps, strict=True) if beyond(gap, margin, strict))
    top = int(np.argmax(gaps))
    holds = beyond(gaps[top], margin, strict) if said is None else said
    found = Comparison(gaps[top], holds, *pairs[top], winners)
    return _judged(found, paired(pairs), margin, level, bounds)


def paired(pairs: Sequence[tuple[Cell, Cell]]) -> Paired:
    """The test of their differences."""
    ours, theirs = zip(*pairs, strict=True)
    return Paired(arrays([a.less(b) for a, b in pairs]), arrays(ours).beside(arrays(theirs)))


def beyond(difference: float, margin: float, strict: bool) -> bool:
    """difference > margin if `strict`, else ≥; equal to nine decimals is equal."""
    excess = round(float(difference) - margin, DECIMALS)
    return excess > 0 if strict else excess >= 0


def arrays(cells: Sequence[Cell]) -> Cells:
    """Cells as arrays (cells,)."""
    numbers = ((c.mean, c.variance, float(c.seeds), c.skew) for c in cells)
    return Cells(*(np.array(column) for column in zip(*numbers, strict=True)))


def _judged(
    found: Comparison, test: Rivals | Paired, margin: float, level: float, bounds: bool
) -> Comparison:
    """Adds confidence, how many more seeds would do, and `bounds` if asked."""
    if not test.spread:
        return found
    confidence = 1 - float(test.yes(margin) if found.holds else test.no(margin))
    more = 0 if confidence >= level else _more_seeds(found, test.chances[not found.holds], margin, level)
    found = replace(found, confidence=confidence, more_seeds=more)
    if not bounds:
        return found
    low = _bound(lambda m: _score(test.yes(m)) - special.ndtri(1 - level), found.difference, -1)
    high = _bound(lambda m: special.ndtri(1 - level) - _score(test.no(m)), found.difference, 1)
    return replace(found, low=low, high=high)


def _score(p: np.ndarray) -> float:
    """The normal score of a p-value, which is all but linear in the margin."""
    return float(special.ndtri(np.clip(p, 1e-15, 1 - 1e-15)))


def _bound(rising: Callable[[float], float], start: float, way: int) -> float:
    """Where a rising function of the margin crosses 0, on one side of `start`."""
    step = 0.25
    while step < FAR and rising(start + way * step) * way < 0:
        step *= 2
    ends = sorted((start, start + way * min(step, FAR)))
    if rising(ends[0]) >= 0:
        return ends[0]
    if rising(ends[1]) <= 0:
        return ends[1]
    return float(scipy.optimize.brentq(rising, *ends, xtol=1e-6))


def _more_seeds(found: Comparison, k: int, margin: float, level: float) -> int | None:
    """By the two bests' own variances."""
    effect = round((found.difference - margin) * (1 if found.holds else -1), DECIMALS)
    now = min(found.best.seeds, found.against.seeds)
    spread = max(found.best.variance, 1e-12) + max(found.against.variance, 1e-12)

    def settles(n: int) -> bool:
        lifted = effect / math.sqrt(spread / n) - special.ndtri(POWER)
        return lifted > 0 and k * special.stdtr(2 * n - 2, -lifted) <= 1 - level

    if effect <= 0 or not settles(MOST_SEEDS):
        return None
    return 1 + bisect.bisect_left(range(now + 1, MOST_SEEDS), True, key=settles)
