"""p-values: how often would luck make the best of these look that much better than the best of those?

Given how much each cell scatters (`lthpaper.verdicts.scatter`), these are probabilities of a mixture of
normals. Why they answer the question is argued in `lthpaper.verdicts.uncertainty`. All arrays may have
leading axes, one entry per table.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from lthpaper.verdicts.scatter import Cells, Scatter, scatter, skewness, widening

CONTENTION_POINTS, CONTENTION_ERRORS = 2.0, 5.0
CHOSEN = 0.6  # noisy cells expected among those that luck can choose from, where few are (`scatter`)
GIVEN = 0.18  # probability that one is noisy which luck does not choose
LESS_SKEWED = 0.8  # a noisy difference than the noisier of its two cells
FALLS = np.concatenate([-np.sinh(np.linspace(0, 5.5, 34))[::-1], np.sinh(np.linspace(0, 3, 15))[1:]])


def contending(
    cells: Cells, points: float = CONTENTION_POINTS, errors: float = CONTENTION_ERRORS
) -> np.ndarray:
    """(..., cells): is the cell near the best, within some points or typical errors, whichever is more?

    The typical error is the median cell's: at the edge of divergence a cell scatters by tens of points.
    """
    reach = np.maximum(points, errors * typical_error(cells))
    return cells.means >= cells.means.max(-1, keepdims=True) - reach[..., None]


def typical_error(cells: Cells) -> np.ndarray:
    """(...,): the median cell's error of its mean, of the cells with several seeds; 0 where none has."""
    freedom = np.maximum(cells.seeds - 1, 1)
    own = np.sqrt(cells.variances * freedom / _median_chi2(freedom) / cells.seeds)
    several = cells.seeds > 1
    return np.median(own, -1) if several.all() else _median_where(own, several)


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
        """Whether on each side some cell that informs has several seeds: one side may scatter three times as
        much as the other, and its one seed then says nothing."""
        sides = zip((self.ours, self.theirs), self.near, strict=True)
        return all(bool(((c.seeds > 1) & near).any()) for c, near in sides)

    def yes(self, margin: float) -> np.ndarray:
        """p-value of "the best of ours is more than margin above the best of theirs"."""
        return self.above(margin).max(-1)

    def no(self, margin: float) -> np.ndarray:
        """p-value of "it is less than margin above"."""
        return self.below(margin).max(-1)

    def above(self, margin: float) -> np.ndarray:
        """(..., theirs): p-values of "the best of ours is more than margin above this one"."""
        return self._ours_chosen.p(self.ours.means[..., :, None] - self.theirs.means[..., None, :] - margin)

    def below(self, margin: float) -> np.ndarray:
        """(..., ours): p-values of "this one is less than margin above the best of theirs"."""
        return self._theirs_chosen.p(self.theirs.means[..., :, None] - self.ours.means[..., None, :] + margin)

    @property
    def chances(self) -> tuple[int, int]:
        """How many contenders luck can choose from where the answer is yes, and where it is no."""
        return int(self.near[0].sum()), int(self.near[1].sum())

    @cached_property
    def _ours_chosen(self) -> "Choice":
        return Choice.of(self.ours, self.near[0], self.theirs, self.near[1])

    @cached_property
    def _theirs_chosen(self) -> "Choice":
        return Choice.of(self.theirs, self.near[1], self.ours, self.near[0])


@dataclass(frozen=True)
class Choice:
    """What noise alone does when the best of some cells is chosen against each of others.

    errors, weights: (..., cells, levels), of a chosen cell's mean: a mixture of normals. falls, chances:
    (..., others, nodes), of another's mean, as a few points. among: (..., cells), which can be chosen.
    several: (..., cells), which have several seeds: one seed may be a wild cell's, so it calls nothing.
    """

    errors: np.ndarray
    weights: np.ndarray
    falls: np.ndarray
    chances: np.ndarray
    among: np.ndarray
    several: np.ndarray

    @classmethod
    def of(cls, cells: Cells, among: np.ndarray, others: Cells, near: np.ndarray) -> "Choice":
        """near: which of the others say how much their side scatters."""
        skew = skewness(cells.beside(others), np.concatenate([among, near], -1))
        sides = (cells, among, np.minimum(CHOSEN / among.sum(-1), GIVEN), -skew), (others, near, GIVEN, skew)
        a, b = (_scatter(*side, *other[:2]) for side, other in zip(sides, sides[::-1], strict=True))
        levels, weights = a.beside(b).levels()
        squares, shares = b.beside(a).levels()
        errors = np.sqrt(squares / others.seeds[..., None])
        likeliest = np.take_along_axis(errors, shares.argmax(-1)[..., None], -1)
        falls = likeliest * FALLS  # (..., others, nodes)
        edges = (falls[..., 1:] + falls[..., :-1]) / 2
        below = (shares[..., None, :] * special.ndtr(edges[..., None] / errors[..., None, :])).sum(-1)
        ends = np.zeros((*below.shape[:-1], 1)), np.ones((*below.shape[:-1], 1))
        chances = np.diff(np.concatenate([ends[0], below, ends[1]], -1))
        found = np.sqrt(levels / cells.seeds[..., None])
        return cls(found, weights, falls, chances, among, cells.seeds > 1)

    def p(self, gaps: np.ndarray) -> np.ndarray:
        """gaps: (..., cells, others), how far the cell lies above the other and the margin. Returns
        (..., others).

        For each other: given how its own mean fell, any of k cells may lie this high above it by luck.
        """
        errors, weights, among, several = self.errors, self.weights, self.among, self.several
        if among.ndim == 1:  # one table: leave out what cannot be chosen
            gaps, errors, weights, several, among = (
                x[among] for x in (gaps, errors, weights, several, among)
            )
        need = gaps[..., None] + self.falls[..., None, :, :]  # (..., cells, others, nodes)
        tails = special.ndtr(-need[..., None] / errors[..., :, None, None, :])
        tail = np.einsum("...aonl,...al->...aon", tails, weights)
        k = among.sum(-1)[..., None, None, None]
        some = -np.expm1(k * np.log1p(-np.minimum(tail, 1 - 1e-16)))
        p = (some * self.chances[..., None, :, :]).sum(-1)  # (..., cells, others)
        return np.clip(np.where((among & several)[..., None], p, 1.0).min(-2), 0.0, 1.0)


@dataclass(frozen=True)
class Paired:
    """Differences seed by seed, arrays (..., cells), and the cells of both sides, (..., twice the cells)."""

    cells: Cells
    sides: Cells

    @cached_property
    def near(self) -> np.ndarray:
        return contending(self.cells)

    @property
    def spread(self) -> bool:
        return bool(((self.cells.seeds > 1) & self.near).any())

    def yes(self, margin: float) -> np.ndarray:
        """p-value of "the largest difference is more than margin"."""
        k = self.near.sum(-1)
        errors, weights = self._noise(2 * np.minimum(CHOSEN / k, GIVEN))
        each = _tail(self.cells.means - margin, errors, weights)
        p = np.where(self.cells.seeds > 1, each, 1.0).min(-1)  # one seed may be a wild cell's
        return -np.expm1(k * np.log1p(-np.minimum(p, 1 - 1e-16)))

    def no(self, margin: float) -> np.ndarray:
        """p-value of "it is less than margin"."""
        return self.below(margin).max(-1)

    def below(self, margin: float) -> np.ndarray:
        """(..., cells): p-values of "this difference is less than margin"."""
        return _tail(margin - self.cells.means, *self._noise(2 * GIVEN))

    @property
    def chances(self) -> tuple[int, int]:
        return int(self.near.sum()), 1

    def _noise(self, noisy: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Errors of the cells' means and their probabilities. A difference is noisy if either of two is. Its
        tail is that one's, on either side; differences of cells alike would show no skewness."""
        skew = skewness(self.sides, np.concatenate([self.near, self.near], -1))
        wider = widening(LESS_SKEWED * np.abs(skew), self.cells.seeds)
        levels, weights = scatter(self.cells, self.near, noisy, wider).levels()
        return np.sqrt(levels / self.cells.seeds[..., None]), weights


def _tail(gaps: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """P(noise ≥ gap) of mixtures of normals. (..., cells), (..., cells, levels) -> (..., cells)."""
    return (weights * special.ndtr(-gaps[..., None] / errors)).sum(-1)


def _scatter(
    cells: Cells,
    near: np.ndarray,
    noisy: np.ndarray | float,
    skew: np.ndarray,
    others: Cells,
    their_near: np.ndarray,
) -> Scatter:
    """Of one side; where it has one seed per cell, the other side's seeds stand for it."""
    wider = widening(skew, cells.seeds)
    if ((cells.seeds - 1) * near).sum(-1).min() > 0:
        return scatter(cells, near, noisy, wider)
    both, informs = others.beside(cells), np.concatenate([their_near, near], -1)
    return scatter(both, informs, noisy).last(cells.means.shape[-1])


def _median_where(errors: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Of the cells with several seeds; 0 where there are none."""
    if not several.any():
        return np.zeros(errors.shape[:-1])
    return np.nan_to_num(np.nanmedian(np.where(several, errors, np.nan), -1))


def _median_chi2(freedom: np.ndarray) -> np.ndarray:
    return 2 * special.gammaincinv(freedom / 2, 0.5)
