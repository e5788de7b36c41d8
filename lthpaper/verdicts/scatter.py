"""How much a cell scatters over seeds, when each has only a few: its own variance, or the common one?

Three seeds say little about one cell's variance, and seven cells together say a lot, if they scatter
alike. They do not always: one learning rate near the edge of divergence may scatter ten times as much.
Pooling would then take luck for a difference, and each cell's own variance would need ten seeds where the
pooled one needs three. So the cells themselves say how far they can be pooled (an empirical-Bayes model,
as limma's moderated variances):

    log σ² of the common variance        flat
    π, the share of noisy cells          one of NOISY, equally likely
    a cell's variance is ρσ²             ρ = 1, or with probability π one of RATIOS, equally likely
    its seeds' sample variance s²        ρσ² χ²/f with f = seeds − 1

A cell that scatters like the others borrows all of their seeds; one that shows more keeps its own
variance with its few degrees of freedom, and makes the model expect more of the kind. Only *more* than
the common variance is modelled: a cell that shows less keeps the common one, which is cautious.

What is asked of the model is a tail, the probability that noise alone makes a difference of means as
large as this one, given all s²: partially Bayes p-values (Ignatiadis and Sen 2023). Integrating σ² out of
the normal tail gives Student's t where nothing is noisy. Everything is a sum over a fixed grid, so
the same table gives the same number. Arrays may have leading axes: the simulations of `benchmarks/` run
this very code on many tables at once.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

RATIOS = np.geomspace(10**0.5, 1000.0, 6)  # of a noisy cell's variance to the common one
ALL = np.concatenate([[1.0], RATIOS])
NOISY = (0.02, 0.3, 0.6)  # shares of noisy cells
NODES, KEPT = 48, 20  # of the common variance: evaluated, and kept for tails
NOTHING = 1e-6  # a weight that is left out
FLOOR = 1e-4  # points²: an image of 10,000, no accuracy is finer; what runs without any scatter have
BELOW = 6.0  # in log σ², how far below the pooled variance the common one is looked for: noisy cells raise it


@dataclass(frozen=True)
class Cells:
    """Arrays (..., cells): means and sample variances (points, points²) over this many seeds."""

    means: np.ndarray
    variances: np.ndarray
    seeds: np.ndarray


@dataclass(frozen=True)
class Scatter:
    """The posterior of the cells' variances. common, weights: (..., KEPT), the common variance at nodes and
    their probabilities. shares: (..., KEPT, cells, ratios), of each cell's ratio at a node."""

    common: np.ndarray
    weights: np.ndarray
    shares: np.ndarray

    def cells(self, which: slice) -> "Scatter":
        """The same for some of the cells."""
        return Scatter(self.common, self.weights, self.shares[..., which, :])

    @property
    def variances(self) -> np.ndarray:
        """(..., cells): expected variance of one run."""
        return ((self.common * self.weights)[..., None] * (self.shares @ ALL)).sum(-2)


def scatter(cells: Cells, informs: np.ndarray) -> Scatter:
    """From the cells' sample variances. informs: (..., cells), which of them say what the common variance is.

    At least one of these has more than one seed.
    """
    s2, freedom = np.maximum(cells.variances, FLOOR), cells.seeds - 1.0
    used = freedom * informs
    total = used.sum(-1, keepdims=True)
    pooled = np.log((s2 * used).sum(-1, keepdims=True) / total)
    top = np.log(total / (2 * special.gammaincinv(total / 2, 1e-5)))
    nodes = pooled - BELOW + (BELOW + top) * np.linspace(0, 1, NODES)  # (..., NODES)
    excess = np.log(s2)[..., None, :, None] - nodes[..., :, None, None] - np.log(ALL)
    f = freedom[..., None, :, None]
    likelihood = np.exp(f / 2 * (excess - np.exp(np.minimum(excess, 50)) + 1))  # 1 where it is largest
    ordinary, noisy = likelihood[..., 0], likelihood[..., 1:].mean(-1)  # (..., NODES, cells)
    shares = np.array(NOISY)
    joint = np.stack(
        [(np.log((1 - p) * ordinary + p * noisy + 1e-300) * informs[..., None, :]).sum(-1) for p in NOISY], -1
    )  # (..., NODES, NOISY)
    joint = np.exp(joint - joint.max((-2, -1), keepdims=True))
    weights = joint.sum(-1)
    kept = np.argsort(weights, -1)[..., -KEPT:]
    share = joint / np.maximum(weights[..., None], 1e-300)

    def at(values: np.ndarray) -> np.ndarray:
        index = kept.reshape(kept.shape + (1,) * (values.ndim - kept.ndim))
        return np.take_along_axis(values, index, kept.ndim - 1)

    prior = np.stack(
        [np.concatenate([[1 - p], np.full(len(RATIOS), p / len(RATIOS))]) for p in shares]
    )  # (NOISY, ratios)
    posterior = at(likelihood)[..., None, :] * prior  # (..., KEPT, cells, NOISY, ratios)
    posterior /= np.maximum(posterior.sum(-1, keepdims=True), 1e-300)
    of_cells = np.einsum("...np,...ncpj->...ncj", at(share), posterior)
    weights = at(weights)
    return Scatter(np.exp(at(nodes)), weights / weights.sum(-1, keepdims=True), of_cells)


@dataclass(frozen=True)
class Noise:
    """A mixture of normals with mean zero for each of some differences of means. weights, errors: (...,
    differences, components), probabilities and standard deviations in points."""

    weights: np.ndarray
    errors: np.ndarray

    def tail(self, gaps: np.ndarray) -> np.ndarray:
        """P(noise ≥ gap). gaps: (..., differences)."""
        return np.clip((self.weights * special.ndtr(-gaps[..., None] / self.errors)).sum(-1), 0, 1)


def noise_between(ours: Scatter, seeds: np.ndarray, theirs: Scatter, others: np.ndarray) -> Noise:
    """Of the differences of two sides' means, (..., ours, theirs). seeds, others: of either side."""
    u, v = ours.shares[..., :, None, :, None], theirs.shares[..., None, :, None, :]  # (..., KEPT, a, b, i, j)
    weights = ours.weights[..., None, None, None, None] * u * v
    unit = (ALL / seeds[..., None])[..., :, None, :, None] + (ALL / others[..., None])[..., None, :, None, :]
    errors = np.sqrt(ours.common[..., None, None, None, None] * unit[..., None, :, :, :, :])
    return _noise(weights, np.broadcast_to(errors, weights.shape), differences=2)


def noise_of(one: Scatter, seeds: np.ndarray) -> Noise:
    """Of the cells' means, (..., cells)."""
    errors = np.sqrt(one.common[..., None, None] * (ALL / seeds[..., None])[..., None, :, :])
    return _noise(one.weights[..., None, None] * one.shares, errors, differences=1)


def _noise(weights: np.ndarray, errors: np.ndarray, differences: int) -> Noise:
    """(..., KEPT, differences, ratios) -> Noise, without the components that weigh nothing anywhere."""
    batch = weights.shape[: -2 * differences - 1]

    def flat(values: np.ndarray) -> np.ndarray:
        values = np.moveaxis(values, len(batch), len(batch) + differences)
        return values.reshape(*values.shape[: len(batch) + differences], -1)

    weights, errors = flat(weights), flat(errors)
    some = weights.max(tuple(range(weights.ndim - 1))) > NOTHING
    weights = weights[..., some]
    return Noise(weights / weights.sum(-1, keepdims=True), errors[..., some])
