"""How much a cell scatters over seeds, when each has only a few: its own variance, or the common one?

Three seeds say little about one cell's variance, and the seven cells of a side together say a lot, if they
scatter alike. They do not always: one learning rate near the edge of divergence may scatter ten times as
much. Pooling would then take luck for a difference, and each cell's own variance would need ten seeds where
the pooled one needs three. So the cells themselves say how far they can be pooled (an empirical-Bayes model,
in the manner of limma's moderated variances):

    log σ² of a side's common variance   flat; with probability ALIKE, near the other side's
    a cell's variance is ρσ²             ρ = 1; with probability `noisy` one of RATIOS, larger ones likelier
    many cells are noisy                 with probability MANY; each with MANY_NOISY then, instead of `noisy`
    its seeds' sample variance s²        ρσ² χ²/f with f = seeds − 1

A cell that scatters like the others borrows all of their seeds. One that shows more keeps its own variance,
with one degree of freedom less than its seeds give (the weight of large ρ does that): with three seeds it is
hardly ever called. One noisy cell makes the others suspect: on a side where all scatter differently, a cell
whose few seeds lie close together by luck would else pass for one that scatters little. Only *more* than
the common variance is modelled: a cell that shows less keeps the common one, which is cautious. A cell of one
seed shows nothing, and is taken as one of the others.

Where seeds are skewed, a cell without its rare low (or high) seeds has both a mean that flatters it and a
variance that is too small. So a noisy cell's error is widened by the skewness of all cells together, on the
side where the long tail is.

Integrating σ² out of the normal tail gives Student's t where nothing is noisy (partially Bayes p-values,
Ignatiadis and Sen 2023). Everything is a sum over a fixed grid: the same table gives the same number. Arrays
may have leading axes: the simulations of `benchmarks/` run this very code on many tables at once.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

STEP = np.log(10) / 2  # between the logarithms of RATIOS
RATIOS = np.exp(STEP * np.arange(1, 7))  # of a noisy cell's variance to the common one: 3 to 1,000
ALL = np.concatenate([[1.0], RATIOS])
PRIOR = RATIOS**0.5 / (RATIOS**0.5).sum()  # of RATIOS, for a noisy cell
MANY, MANY_NOISY = 0.3, 0.6  # probability that a side has many noisy cells, and that each is one then
WIDER = 6.0  # error of a mean: by 1 + WIDER · skewness / √seeds
ALIKE, APART = 0.7, 0.5  # probability that the sides' log σ² are alike, and the spread of its difference then
FINE = 1.3  # spacing of the common variance's nodes, in posterior standard deviations of its logarithm
COARSE = 0.4  # spacing of the logarithms of the variances that tails are summed over
BELOW = 6.0  # in log σ², how far below the pooled variance the common one is looked for: noisy cells raise it
NOTHING = 1e-5  # a weight that is left out
FLOOR = 1e-4  # points²: an image of 10,000, no accuracy is finer; what runs without any scatter have


@dataclass(frozen=True)
class Cells:
    """Arrays (..., cells): means, sample variances (points, points²) and sample skewness over so many seeds.

    skews: 0 where there are fewer than three seeds or no spread.
    """

    means: np.ndarray
    variances: np.ndarray
    seeds: np.ndarray
    skews: np.ndarray

    @classmethod
    def of(cls, accuracies: np.ndarray) -> "Cells":
        """(..., cells, seeds) with equally many seeds, two at least."""
        n = accuracies.shape[-1]
        apart = accuracies - accuracies.mean(-1, keepdims=True)
        variances = (apart**2).sum(-1) / (n - 1)
        skews = np.zeros(variances.shape)
        if n > 2:
            scale = np.maximum(variances, 1e-12) ** 1.5
            skews = n / ((n - 1) * (n - 2)) * (apart**3).sum(-1) / scale
        return cls(accuracies.mean(-1), variances, np.full(variances.shape, float(n)), skews)

    def beside(self, others: "Cells") -> "Cells":
        """Both, along the last axis."""
        mine, theirs = ((c.means, c.variances, c.seeds, c.skews) for c in (self, others))
        return Cells(*(np.concatenate(pair, -1) for pair in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class Scatter:
    """The posterior of the cells' variances.

    nodes: (..., nodes), log of the common variance, evenly spaced by STEP / per; weights: their
    probabilities. shares: (..., nodes, cells, ratios), of each cell's ratio at a node.
    """

    nodes: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    per: int

    @property
    def variances(self) -> np.ndarray:
        """(..., cells): expected variance of one run."""
        return ((np.exp(self.nodes) * self.weights)[..., None] * (self.shares @ ALL)).sum(-2)

    def last(self, cells: int) -> "Scatter":
        """The same for so many of the cells, the last ones."""
        return replace(self, shares=self.shares[..., -cells:, :])

    def beside(self, other: "Scatter") -> "Scatter":
        """The same, knowing how the other side scatters: alike, probably."""
        apart = self.nodes[..., :, None] - other.nodes[..., None, :]
        kernel = ALIKE * np.exp(-((apart / APART) ** 2) / 2) / (APART * np.sqrt(2 * np.pi))
        known = (kernel * other.weights[..., None, :]).sum(-1) + (1 - ALIKE) / np.log(ALL[-1] ** 2)
        weights = self.weights * known
        return replace(self, weights=weights / weights.sum(-1, keepdims=True))

    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances of one run and their probabilities, for each cell: two arrays (..., cells, levels).

        Nodes and ratios lie on one logarithmic lattice, so that many products are one level; neighbours are
        then taken together, at their mean.
        """
        nodes, width = self.nodes.shape[-1], max(1, round(self.per * COARSE / STEP))
        more = self.per * len(RATIOS)
        more += -(nodes + more) % width
        joint = self.weights[..., None, None] * self.shares
        found = np.zeros((*self.nodes.shape[:-1], self.shares.shape[-2], nodes + more))
        for i in range(len(ALL)):
            found[..., i * self.per : i * self.per + nodes] += np.swapaxes(joint[..., i], -1, -2)
        lattice = np.exp(self.nodes[..., None, :1] + STEP / self.per * np.arange(nodes + more))
        groups = (*found.shape[:-1], -1, width)
        weights = found.reshape(groups).sum(-1)
        means = (found * lattice).reshape(groups).sum(-1) / np.maximum(weights, 1e-300)
        some = weights.max(tuple(range(weights.ndim - 1))) > NOTHING
        weights = weights[..., some]
        return np.maximum(means[..., some], FLOOR / 1e3), weights / weights.sum(-1, keepdims=True)


def scatter(
    cells: Cells, informs: np.ndarray, noisy: np.ndarray | float, wider: np.ndarray | float = 1.0
) -> Scatter:
    """From the cells' sample variances. informs: (..., cells), which of them say what the common variance is;
    at least one of these has more than one seed. noisy: (...,), prior probability that a cell is, where few
    are. wider: (..., cells), by what its error is then too small (`widening`)."""
    s2, freedom = np.maximum(cells.variances, FLOOR), cells.seeds - 1.0
    used = freedom * informs
    total = used.sum(-1, keepdims=True)
    pooled = np.log((s2 * used).sum(-1, keepdims=True) / total)
    per = int(np.ceil(STEP / FINE * np.sqrt(total.max() / 2)))
    top = np.log(total.min() / (2 * special.gammaincinv(total.min() / 2, 1e-5)))
    steps = np.arange(-np.ceil(BELOW / STEP * per), np.ceil(top / STEP * per) + 1)
    nodes = pooled + STEP / per * steps  # (..., nodes)
    excess = np.log(s2)[..., None, :, None] - nodes[..., :, None, None] - np.log(ALL)
    widened = 2 * np.log(np.broadcast_to(wider, s2.shape))
    excess[..., 1:] += widened[..., None, :, None]
    half = freedom[..., None, :, None] / 2
    likelihood = np.exp(half * (excess - np.exp(np.minimum(excess, 50)) + 1))  # (..., nodes, cells, ratios)
    wild = likelihood[..., 1:] * PRIOR
    few_many = np.stack(np.broadcast_arrays(noisy, MANY_NOISY), -1)[..., None, None, :]  # (..., 1, 1, 2)
    share = few_many * (freedom > 0)[..., None, :, None]
    alike = likelihood[..., :1] * (1 - share)  # (..., nodes, cells, 2)
    whole = alike + share * wild.sum(-1, keepdims=True) + 1e-300
    logs = (np.log(whole) * informs[..., None, :, None]).sum(-2) + np.log([1 - MANY, MANY])  # (..., nodes, 2)
    joint = np.exp(logs - logs.max((-2, -1), keepdims=True))
    weights = joint.sum(-1)
    given = joint / np.maximum(weights, 1e-300)[..., None]  # of few and many, at a node
    common = (given[..., None, :] * alike / whole).sum(-1, keepdims=True)  # that a cell is not noisy
    own = (1 - common) * wild / np.maximum(wild.sum(-1, keepdims=True), 1e-300)
    shares = np.concatenate([common, own], -1)  # (..., nodes, cells, ratios)
    return Scatter(nodes, weights / weights.sum(-1, keepdims=True), shares, per)


def skewness(cells: Cells, informs: np.ndarray) -> np.ndarray:
    """(...,): of the cells' seeds, each cell weighted as surely as it shows it; 0 where none does."""
    n = cells.seeds
    sure = informs * np.maximum(n - 2, 0) * (n + 1) * (n + 3) / (n * np.maximum(n - 1, 1))
    return (sure * cells.skews).sum(-1) / np.maximum(sure.sum(-1), 1e-9)


def widening(skew: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(..., cells): by what factor a noisy cell's error is too small, where the long tail is on its side."""
    return 1 + WIDER * np.maximum(skew, 0.0)[..., None] / np.sqrt(seeds)
