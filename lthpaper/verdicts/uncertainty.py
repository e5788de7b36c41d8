"""Is the best of these better than the best of those? Few seeds, several learning rates.

A *cell* is one setting at one learning rate; its seeds' accuracies are taken as independent and normal
around its true mean. The best of seven observed means lies above the best true mean: luck is favoured,
most where the curve is flat. So the observed maximum is never taken for the true one, and
"max_l L_l − max_r R_r > margin" is asked as it is meant: *some* l beats *every* r by more than that.

- Each pair has p_lr, the probability that noise alone lifts L_l that far above R_r + margin; how much a
  cell scatters is `lthpaper.verdicts.scatter`'s: its own variance where it shows, the common one elsewhere.
- An l that beats every r has p_l = max_r p_lr: no correction is due for r (intersection-union).
- Were the answer no, the truly best r* would have every L_l within the margin, and the smallest p_l would
  be at worst the smallest of k p-values that share r*. `smallest` says how often that is as small:
  Dunnett's test for cells that scatter alike, with a correlation of its own for each cell that does not.
- It is called false the same way with the roles exchanged.
- Differences at the same learning rate (④) are taken seed by seed: what LT and pretraining of one seed
  share (θ0, the order of the data) cancels. Called true by the smallest of k p-values again; called
  false by the largest, since it has to fail at every learning rate.

Each call is then wrong with probability at most 1 − level, whatever the true curves, as far as three
seeds can tell how much a cell scatters: docs/statistics.md has the simulated rates and the limits.

Contenders are the cells near their side's best: within 2 points or 5 typical standard errors of it,
whichever is more. They alone can be the best, so k counts them alone; and they alone say what the common
scatter is, since learning rates that are far too small or too large scatter differently. Between
different learning rates seeds are not paired: what they share makes them correlate, so ignoring it
is cautious. Nothing is drawn at random: the same table gives the same number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import optimize, special

from lthpaper.verdicts.scatter import Cells, Noise, Scatter, noise_between, noise_of, scatter

CONTENTION_POINTS, CONTENTION_ERRORS = 2.0, 5.0
POWER = 0.8  # "likely to settle it"
MOST_SEEDS = 10_000  # if not even this many would do, a difference sits on its threshold
DECIMALS = 9  # accuracies are k/N in floats: 64.1 − 63.6 is 0.5
FAR = 1e3  # points: no bound lies further away


@dataclass(frozen=True)
class Cell:
    """Accuracies (percent) of one setting at one learning rate, one a seed, all finite.

    numbers: the seeds, in the same order; 0, 1, … unless given.
    """

    setting: str
    lr: float
    accuracies: tuple[float, ...]
    numbers: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(len(self.accuracies))))

    @property
    def seeds(self) -> int:
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        return math.fsum(self.accuracies) / self.seeds

    @property
    def variance(self) -> float:
        """Of one run, by the seeds; 0 for one seed."""
        squares = math.fsum((a - self.mean) ** 2 for a in self.accuracies)
        return squares / (self.seeds - 1) if self.seeds > 1 else 0.0

    def less(self, other: "Cell") -> "Cell":
        """The differences seed by seed, of the seeds that both have; in order, where they have none in
        common (draws that share nothing may be paired in any order)."""
        theirs = dict(zip(other.numbers, other.accuracies, strict=True))
        ours = dict(zip(self.numbers, self.accuracies, strict=True))
        both = [n for n in ours if n in theirs]
        if both:
            found = tuple(ours[n] - theirs[n] for n in both)
        else:
            found = tuple(a - b for a, b in zip(self.accuracies, other.accuracies, strict=False))
        return Cell(f"{self.setting} − {other.setting}", self.lr, found)


@dataclass(frozen=True)
class Comparison:
    """Best of one side against another, against a margin.

    difference: of the means, points. holds: is it beyond the margin? winners: every cell that is by
    itself. confidence: that `holds` is right, in [0, 1]; None without a spread (one seed a cell).
    low, high: bounds on the true difference, each at `level`. more_seeds: for each setting, to reach
    `level` with a chance of 80 % if the difference is as it seems (normal approximation); 0 if it is
    reached, None if the difference sits on the margin or there is no spread to go by.
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
    ours: Sequence[Cell], theirs: Sequence[Cell], margin: float, strict: bool, level: float = 0.95
) -> Comparison:
    """Is the best of `ours` more than `margin` above the best of `theirs` (`strict`), or at least that?"""
    best, against = max(ours, key=lambda c: c.mean), max(theirs, key=lambda c: c.mean)
    difference = best.mean - against.mean
    winners = tuple(a for a in ours if beyond(a.mean - against.mean, margin, strict))
    found = Comparison(difference, beyond(difference, margin, strict), best, against, winners)
    return _judged(found, Rivals(arrays(ours), arrays(theirs)), margin, level)


def best_pair(
    pairs: Sequence[tuple[Cell, Cell]], margin: float, strict: bool, level: float = 0.95
) -> Comparison:
    """Is some pair's first more than `margin` above its second (`strict`), or at least that?"""
    gaps = [a.mean - b.mean for a, b in pairs]
    winners = tuple(a for (a, _), gap in zip(pairs, gaps, strict=True) if beyond(gap, margin, strict))
    top = int(np.argmax(gaps))
    found = Comparison(gaps[top], beyond(gaps[top], margin, strict), *pairs[top], winners)
    return _judged(found, Paired(arrays([a.less(b) for a, b in pairs])), margin, level)


def beyond(difference: float, margin: float, strict: bool) -> bool:
    """difference > margin if `strict`, else ≥; equal to nine decimals is equal."""
    excess = round(float(difference) - margin, DECIMALS)
    return excess > 0 if strict else excess >= 0


def contenders(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that could be the best of theirs."""
    near = contending(arrays(cells))
    return [c for c, is_near in zip(cells, near, strict=True) if is_near]


def arrays(cells: Sequence[Cell]) -> Cells:
    """Cells as arrays (cells,)."""
    numbers = ((c.mean, c.variance, float(c.seeds)) for c in cells)
    return Cells(*(np.array(column) for column in zip(*numbers, strict=True)))


def contending(
    cells: Cells, points: float = CONTENTION_POINTS, errors: float = CONTENTION_ERRORS
) -> np.ndarray:
    """(..., cells): is the cell near the best, within some points or typical errors, whichever is more?

    The typical error is the median cell's: at the edge of divergence a cell scatters by tens of points.
    """
    freedom = np.maximum(cells.seeds - 1, 1)
    own = np.sqrt(cells.variances * freedom / _median_chi2(freedom) / cells.seeds)
    several = cells.seeds > 1
    typical = np.median(own, -1) if several.all() else _median_where(own, several)
    reach = np.maximum(points, errors * typical)
    return cells.means >= cells.means.max(-1, keepdims=True) - reach[..., None]


@dataclass(frozen=True)
class Rivals:
    """Two sides of cells, arrays (..., ours) and (..., theirs)."""

    ours: Cells
    theirs: Cells

    @cached_property
    def near(self) -> tuple[np.ndarray, np.ndarray]:
        return contending(self.ours), contending(self.theirs)

    @cached_property
    def spread(self) -> bool:
        """Whether any cell that informs has several seeds."""
        return any(
            bool(((c.seeds > 1) & n).any()) for c, n in zip((self.ours, self.theirs), self.near, strict=True)
        )

    @cached_property
    def scatter(self) -> tuple[Scatter, Scatter]:
        both = Cells(
            *(np.concatenate(pair, -1) for pair in zip(_parts(self.ours), _parts(self.theirs), strict=True))
        )
        found = scatter(both, np.concatenate(self.near, -1))
        k = self.ours.means.shape[-1]
        return found.cells(slice(None, k)), found.cells(slice(k, None))

    @cached_property
    def gaps(self) -> np.ndarray:
        """(..., ours, theirs)"""
        return self.ours.means[..., :, None] - self.theirs.means[..., None, :]

    @cached_property
    def noise(self) -> Noise:
        a, b = self.scatter
        return noise_between(a, self.ours.seeds, b, self.theirs.seeds)

    @cached_property
    def shared(self) -> tuple[np.ndarray, np.ndarray]:
        """The part of each difference's variance that comes from the best of theirs; of ours."""
        u, v = (s.variances / c.seeds for s, c in zip(self.scatter, (self.ours, self.theirs), strict=True))
        of_rival, of_best = _at_best(v, self.theirs), _at_best(u, self.ours)
        return of_rival / (u + of_rival), of_best / (v + of_best)

    def yes(self, margin: float) -> np.ndarray:
        """p-value of "the best of ours is more than margin above the best of theirs"."""
        return smallest(self.noise.tail(self.gaps - margin).max(-1), self.near[0], self.shared[0])

    def no(self, margin: float) -> np.ndarray:
        """p-value of "it is less than margin above"."""
        return smallest(self.noise.tail(margin - self.gaps).max(-2), self.near[1], self.shared[1])

    @property
    def chances(self) -> tuple[int, int]:
        """How many contenders luck can choose from where the answer is yes, and where it is no."""
        return int(self.near[0].sum()), int(self.near[1].sum())


@dataclass(frozen=True)
class Paired:
    """Differences seed by seed, arrays (..., cells)."""

    cells: Cells

    @cached_property
    def near(self) -> np.ndarray:
        return contending(self.cells)

    @property
    def spread(self) -> bool:
        return bool(((self.cells.seeds > 1) & self.near).any())

    @cached_property
    def scatter(self) -> Scatter:
        return scatter(self.cells, self.near)

    @cached_property
    def noise(self) -> Noise:
        return noise_of(self.scatter, self.cells.seeds)

    def yes(self, margin: float) -> np.ndarray:
        """p-value of "the largest difference is more than margin"."""
        p = self.noise.tail(self.cells.means - margin)
        return smallest(p, self.near, np.zeros(p.shape))

    def no(self, margin: float) -> np.ndarray:
        """p-value of "it is less than margin"."""
        return self.noise.tail(margin - self.cells.means).max(-1)

    @property
    def chances(self) -> tuple[int, int]:
        return int(self.near.sum()), 1


def smallest(p: np.ndarray, among: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """P(the smallest of some correlated p-values ≤ the smallest of p). (..., cells) -> (...).

    among: which can be it. shared: the part of each difference's variance that all have in common, in [0, 1).
    Their normal scores are √shared of a common one and √(1 − shared) of their own.
    """
    least = p.min(-1)
    score = -special.ndtri(np.clip(least, 1e-300, 1 - 1e-16))[..., None, None]
    nodes, weights = _hermite()
    shared = shared[..., None, :]
    own = (score - np.sqrt(shared) * nodes[:, None]) / np.sqrt(np.maximum(1 - shared, 1e-9))
    none = (special.log_ndtr(own) * among[..., None, :]).sum(-1)  # (..., nodes)
    return np.clip(-np.expm1(none) @ weights, least, 1.0)


def _judged(found: Comparison, test: Rivals | Paired, margin: float, level: float) -> Comparison:
    """Adds confidence, bounds, and how many more seeds would do."""
    if not test.spread:
        return found
    confidence = 1 - float(test.yes(margin) if found.holds else test.no(margin))
    low = _bound(lambda m: float(test.yes(m)) - (1 - level), found.difference, -1)
    high = _bound(lambda m: (1 - level) - float(test.no(m)), found.difference, 1)
    more = 0 if confidence >= level else _more_seeds(found, test.chances[not found.holds], margin, level)
    return replace(found, confidence=confidence, low=low, high=high, more_seeds=more)


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
    return float(optimize.brentq(rising, *ends, xtol=1e-6))


def _more_seeds(found: Comparison, k: int, margin: float, level: float) -> int | None:
    """By the two bests' own variances."""
    effect = round(abs(found.difference - margin), DECIMALS)
    now = min(found.best.seeds, found.against.seeds)
    spread = max(found.best.variance, 1e-12) + max(found.against.variance, 1e-12)

    def settles(n: int) -> bool:
        lifted = effect / math.sqrt(spread / n) - special.ndtri(POWER)
        return lifted > 0 and k * special.stdtr(2 * n - 2, -lifted) <= 1 - level

    if effect == 0 or not settles(MOST_SEEDS):
        return None
    low, high = now, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high - now


def _parts(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return cells.means, cells.variances, cells.seeds


def _at_best(values: np.ndarray, cells: Cells) -> np.ndarray:
    """(..., cells) -> (..., 1): of the cell with the highest mean."""
    return np.take_along_axis(values, cells.means.argmax(-1)[..., None], -1)


def _median_where(errors: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Of the cells with several seeds; 0 where there are none."""
    return (
        np.nan_to_num(np.nanmedian(np.where(several, errors, np.nan), -1))
        if several.any()
        else np.zeros(errors.shape[:-1])
    )


@lru_cache(maxsize=1)
def _hermite() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    return nodes, weights / weights.sum()


def _median_chi2(freedom: np.ndarray) -> np.ndarray:
    return 2 * special.gammaincinv(freedom / 2, 0.5)
