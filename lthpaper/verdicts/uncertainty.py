"""Is the best of these better than the best of those? Few seeds, several learning rates.

A *cell* is one setting at one learning rate; its seeds' accuracies are taken as independent and normal
around its true mean. The best of seven observed means lies above the best true mean: luck is favoured,
most where the curve is flat. So the observed maximum is never taken for the true one, and
"max_l L_l − max_r R_r > margin" is asked as it is meant: *some* l beats *every* r by more than that.

- It is called true by T = max_l min_r t_lr, t the studentised difference less the margin. Were it
  false, the truly best r* would have every L_l within the margin, and T ≤ max_l t_{l r*}: at worst the
  largest of k statistics with mean zero. So T is held against the largest of k independent t over one
  standard deviation. (They share r*, which makes them alike and the largest smaller: Dunnett's test.
  Ignoring that is cautious.) No correction is due for r: to beat all is an intersection-union test.
- It is called false the same way with the roles exchanged.
- Differences at the same learning rate (④): called true by the largest of k again; called false by a
  plain t, since it has to fail at every learning rate.

Each call is then wrong with probability at most 1 − level, whatever the true curves; tests simulate it.

Contenders are the cells near their side's best: within 2 points or 5 typical standard errors of it,
whichever is more. They alone can be the best, so k counts them alone; and they alone give the standard
deviations, one for each side, pooled within cells, since learning rates that are far too small or too
large scatter more. A difference has Satterthwaite's degrees of freedom. Seeds are not paired: what LT
and pretraining share (θ0) makes them correlate, so ignoring it is cautious too. Nothing is drawn at
random: the same table gives the same number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, special

CONTENTION_POINTS, CONTENTION_ERRORS = 2.0, 5.0
POWER = 0.8  # "likely to settle it"
MOST_SEEDS = 10_000  # if not even this many would do, a difference sits on its threshold
DECIMALS = 9  # accuracies are k/N in floats: 64.1 − 63.6 is 0.5
CERTAIN = 1e3  # a t statistic; also what no scatter at all gives


@dataclass(frozen=True)
class Cell:
    """Accuracies (percent) of one setting at one learning rate, one a seed, all finite."""

    setting: str
    lr: float
    accuracies: tuple[float, ...]

    @property
    def seeds(self) -> int:
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        return math.fsum(self.accuracies) / self.seeds

    @property
    def squares(self) -> float:
        """Sum of squared deviations from the mean."""
        return math.fsum((a - self.mean) ** 2 for a in self.accuracies)


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
    near = contenders(ours), contenders(theirs)
    spread = _Spread.of(*near)
    if spread is None:
        return found
    gaps = np.array([[a.mean - b.mean for b in theirs] for a in ours])  # (ours, theirs)
    errors = np.array([[spread.error(a, b) for b in theirs] for a in ours])
    return _judged(
        found,
        margin,
        low=lambda c: (gaps - c * errors).min(axis=1).max(),
        high=lambda c: (gaps + c * errors).max(axis=0).min(),
        chances=(len(near[0]), len(near[1])),
        spread=spread,
        level=level,
    )


def best_pair(
    pairs: Sequence[tuple[Cell, Cell]], margin: float, strict: bool, level: float = 0.95
) -> Comparison:
    """Is some pair's first more than `margin` above its second (`strict`), or at least that?"""
    gaps = np.array([a.mean - b.mean for a, b in pairs])
    winners = tuple(a for a, b in pairs if beyond(a.mean - b.mean, margin, strict))
    top = int(gaps.argmax())
    found = Comparison(float(gaps[top]), beyond(gaps[top], margin, strict), *pairs[top], winners)
    reach = _reach([cell for pair in pairs for cell in pair])
    near = [pair for pair, gap in zip(pairs, gaps, strict=True) if gap >= gaps[top] - reach]
    spread = _Spread.of([a for a, _ in near], [b for _, b in near])
    if spread is None:
        return found
    errors = np.array([spread.error(a, b) for a, b in pairs])
    return _judged(
        found,
        margin,
        low=lambda c: (gaps - c * errors).max(),
        high=lambda c: (gaps + c * errors).max(),
        chances=(len(near), 1),
        spread=spread,
        level=level,
    )


def beyond(difference: float, margin: float, strict: bool) -> bool:
    """difference > margin if `strict`, else ≥; equal to nine decimals is equal."""
    excess = round(float(difference) - margin, DECIMALS)
    return excess > 0 if strict else excess >= 0


def contenders(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that could be the best of theirs."""
    bar = max(c.mean for c in cells) - _reach(cells)
    return [c for c in cells if c.mean >= bar]


@lru_cache(maxsize=4096)
def luck(t: float, k: int, freedom: float) -> float:
    """P(the largest of k independent t statistics over one standard deviation ≥ t).

    freedom: of the standard deviation; inf if it is known. k = 1 is Student's t.
    """
    s, weight = _scatter(freedom)
    return float(weight @ -np.expm1(k * special.log_ndtr(t * s)))


def critical(k: int, freedom: float, level: float) -> float:
    """The t that luck reaches with probability 1 − level; at least 0."""
    return _root(lambda t: (1 - level) - luck(t, k, freedom))


@dataclass(frozen=True)
class _Spread:
    """Variance of one run of either side, and the degrees of freedom of a difference."""

    ours: float
    theirs: float
    freedom: float

    @classmethod
    def of(cls, ours: Sequence[Cell], theirs: Sequence[Cell]) -> "_Spread | None":
        sides = [
            (math.fsum(c.squares for c in side), sum(c.seeds - 1 for c in side)) for side in (ours, theirs)
        ]
        freedoms = [freedom for _, freedom in sides]
        if not any(freedoms):
            return None
        pooled = sum(squares for squares, _ in sides) / sum(freedoms)
        if not all(freedoms):  # one side has one seed a cell: take it to scatter like the other
            return cls(pooled, pooled, sum(freedoms))
        a, b = (squares / freedom for squares, freedom in sides)
        if a + b == 0:
            return cls(0.0, 0.0, sum(freedoms))
        return cls(a, b, (a + b) ** 2 / (a**2 / freedoms[0] + b**2 / freedoms[1]))

    def error(self, a: Cell, b: Cell) -> float:
        """Standard error of the difference of two cells' means."""
        return math.sqrt(self.ours / a.seeds + self.theirs / b.seeds)


def _judged(
    found: Comparison,
    margin: float,
    low: Callable[[float], float],
    high: Callable[[float], float],
    chances: tuple[int, int],
    spread: _Spread,
    level: float,
) -> Comparison:
    """Adds confidence. low(c), high(c): bounds on the difference with critical value c; chances: how
    many contenders luck can choose from where the answer is yes, and where it is no."""
    k = chances[0] if found.holds else chances[1]
    t = _root(lambda c: margin - low(c) if found.holds else high(c) - margin)
    confidence = 1 - luck(round(t, DECIMALS), k, spread.freedom)
    effect = abs(found.difference - margin)
    more = 0 if confidence >= level else _more_seeds(effect, found, k, spread, level)
    low_c, high_c = (critical(chance, spread.freedom, level) for chance in chances)
    bounds = {"low": float(low(low_c)), "high": float(high(high_c))}
    return replace(found, confidence=confidence, more_seeds=more, **bounds)


def _more_seeds(effect: float, found: Comparison, k: int, spread: _Spread, level: float) -> int | None:
    """effect: distance from the margin, points."""
    now = min(found.best.seeds, found.against.seeds)
    lift = special.ndtri(POWER)

    def settles(n: int) -> bool:
        t = effect / math.sqrt((spread.ours + spread.theirs) / n) - lift
        return t > 0 and 1 - luck(t, k, spread.freedom * (n - 1) / max(now - 1, 1)) >= level

    if effect == 0 or not settles(MOST_SEEDS):
        return None
    low, high = now, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high - now


def _reach(cells: Sequence[Cell]) -> float:
    """How far below the best a cell may be, points. The typical error is the median cell's: a learning
    rate at the edge of divergence scatters by tens of points."""
    errors = [math.sqrt(c.squares / _chi2(c.seeds - 1, 0.5) * 2 / c.seeds) for c in cells if c.seeds > 1]
    return (
        max(CONTENTION_POINTS, CONTENTION_ERRORS * float(np.median(errors))) if errors else CONTENTION_POINTS
    )


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a t statistic crosses 0, between 0 and CERTAIN."""
    if rising(0.0) >= 0:
        return 0.0
    if rising(CERTAIN) <= 0:
        return CERTAIN
    return float(optimize.brentq(rising, 0.0, CERTAIN, xtol=1e-7))


@lru_cache(maxsize=1024)
def _scatter(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Estimated over true standard deviation at quadrature nodes, and their probabilities."""
    nodes, weights = _legendre()
    s = np.ones_like(nodes) if math.isinf(freedom) else np.sqrt(_chi2(freedom, nodes) / freedom)
    return s, weights


@lru_cache(maxsize=1)
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, 1); 48 give `luck` to 2e-5."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    return (nodes + 1) / 2, weights / 2


def _chi2(freedom: float, probability: np.ndarray | float) -> np.ndarray | float:
    return 2 * special.gammaincinv(freedom / 2, probability)
