"""P(Jackpot), P(secondary prize), P(none): how undecided is a verdict?

A call says what is sure; a probability says how far from it the rest is. It needs what calls do without, a
prior over curves:

    a setting's accuracy over log10 lr     a constant + a Gaussian process, Matérn-3/2, LENGTH decades long
    its amplitude in points                one of AMPLITUDES, as the setting's own cells make them likely
    how much cells scatter                 lthpaper.verdicts.scatter, from all cells
    LT and pretraining of one seed         correlated at one learning rate, as their residuals are
    LT under IMP's and OMP's mask          correlated by what each has in common with pretraining

So neighbouring learning rates inform each other, one that is missing is predicted, and the best of seven is
not taken for better than it is. The posterior is drawn from 4000 times with a generator of its own, always
the same: the same table gives the same numbers. In each draw ② to ⑤ either hold or not, and the
probabilities count the draws. ① is known. A setting that has not run, or that has one seed per cell
everywhere, leaves no probability.

Calibrated in simulation where the curves are like the prior's: docs/statistics.md has the diagram.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lthpaper.paper import Thresholds
from lthpaper.verdicts.cells import Side, pairs_of
from lthpaper.verdicts.evidence import as_chance
from lthpaper.verdicts.scatter import ALL, Cells, Scatter, scatter

NOISY = 0.1  # of the cells
LENGTH = 1.0  # decades: the likeliest on the published curves (`benchmarks/smoothness.py`)
AMPLITUDES = (0.3, 1.0, 3.0, 10.0, 30.0)  # points
LEVELS = 100.0  # points: sd of the constant
SCATTERS, EACH = 40, 100  # draws of the scatter, and of the curves for each
UNKNOWN = 1e6  # points²: of a cell that has not run
CORRELATIONS = np.linspace(0, 0.95, 96)  # of LT's and pretraining's seeds


@dataclass(frozen=True)
class Probabilities:
    """Of the three kinds; they sum to 1."""

    jackpot: float
    secondary: float
    none: float

    def __str__(self) -> str:
        kinds = {"Jackpot": self.jackpot, "secondary prize": self.secondary, "none": self.none}
        return ", ".join(f"P({kind}) {as_chance(p, 2)}" for kind, p in kinds.items())


def probabilities(
    lt: Side, rr: Side, sdt: Side, dense: Side, limits: Thresholds, first: bool
) -> Probabilities | None:
    """first: whether ① holds. None where a side has no cells, or seeds show no spread."""
    sides = (lt, rr, sdt, dense)
    if any(all(c.seeds < 2 for c in side.cells) for side in sides):
        return None
    if not first:
        return Probabilities(0.0, 0.0, 1.0)
    curves = _Curves.of(sides)
    drawn = curves.draw(np.random.default_rng(0))  # (SCATTERS · EACH, cells)
    best = [drawn[:, curves.of_side == i].max(1) for i in range(4)]
    pairs = curves.pairs
    if not len(pairs):
        return None
    fourth = (drawn[:, pairs[:, 0]] - drawn[:, pairs[:, 1]]).max(1) >= -limits.similar
    ticket = (best[0] - best[2] > limits.gap) & (best[0] - best[1] > limits.gap) & fourth
    jackpot = float((ticket & (best[0] - best[3] >= -limits.similar)).mean())
    return Probabilities(jackpot, float(ticket.mean()) - jackpot, 1 - float(ticket.mean()))


@dataclass(frozen=True)
class _Curves:
    """All cells of four sides, missing ones included, as arrays (cells,).

    curve: which setting; of_side: 0 to 3. pairs: (n, 2), LT's and pretraining's cells of one learning rate.
    """

    cells: Cells
    missing: np.ndarray
    decades: np.ndarray
    curve: np.ndarray
    of_side: np.ndarray
    pairs: np.ndarray
    correlation: float

    @classmethod
    def of(cls, sides: Sequence[Side]) -> "_Curves":
        rows = []  # side, setting, lr, mean, variance, seeds; 0 seeds: missing
        for i, side in enumerate(sides):
            rows += [(i, c.setting, c.lr, c.mean, c.variance, c.seeds) for c in side.cells]
            rows += [(i, setting, lr, 0.0, 0.0, 0) for setting, lr in side.missing]
        of_side, settings, lrs, means, variances, seeds = map(np.array, zip(*rows, strict=True))
        pairs = [
            (a, b)
            for a in np.flatnonzero(of_side == 0)
            for b in np.flatnonzero(of_side == 3)
            if lrs[a] == lrs[b]
        ]
        missing = seeds == 0
        return cls(
            Cells(means, variances, np.where(missing, 1.0, seeds.astype(float)), np.zeros(len(means))),
            missing,
            np.log10(lrs),
            np.unique(settings, return_inverse=True)[1],
            of_side,
            np.array(pairs, dtype=int).reshape(-1, 2),
            _correlation(sides[0], sides[3]),
        )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """(SCATTERS · EACH, cells) of the expected accuracies."""
        found = scatter(self.cells, ~self.missing, NOISY)
        typical = self._noise(np.where(self.missing, UNKNOWN, found.variances / self.cells.seeds))
        priors = [self._amplitudes(curve, typical) for curve in range(self.curve.max() + 1)]
        drawn = []
        for _ in range(SCATTERS):
            variances = np.where(self.missing, UNKNOWN, _one(found, rng) / self.cells.seeds)
            amplitudes = np.array([rng.choice(AMPLITUDES, p=p) for p in priors])[self.curve]
            drawn.append(self._posterior(self._noise(variances), amplitudes, rng))
        return np.concatenate(drawn)

    def _noise(self, variances: np.ndarray) -> np.ndarray:
        """Covariance of the cells' means."""
        noise = np.diag(variances)
        a, b = self.pairs.T
        both = ~self.missing[a] & ~self.missing[b]
        a, b = a[both], b[both]
        noise[a, b] = noise[b, a] = self.correlation * np.sqrt(variances[a] * variances[b])
        first, second = np.nonzero((b[:, None] == b) & (a[:, None] != a))  # two masks' LT, one pretraining
        a, b = a[first], a[second]
        noise[a, b] = self.correlation**2 * np.sqrt(variances[a] * variances[b])
        return noise

    def _prior(self, amplitudes: np.ndarray) -> np.ndarray:
        """Covariance of the curves at the cells."""
        smooth = amplitudes[:, None] * amplitudes * alike(self.decades)
        return np.where(self.curve[:, None] == self.curve, LEVELS**2 + smooth, 0.0)

    def _amplitudes(self, curve: int, noise: np.ndarray) -> np.ndarray:
        """Probabilities of AMPLITUDES for one setting's curve."""
        own = (self.curve == curve) & ~self.missing
        if own.sum() < 2:
            return np.full(len(AMPLITUDES), 1 / len(AMPLITUDES))
        values = self.cells.means[own] - self.cells.means[own].mean()
        logs = []
        for amplitude in AMPLITUDES:
            covariance = self._prior(np.full(len(self.curve), amplitude))[np.ix_(own, own)]
            covariance = covariance + np.diag(np.diag(noise)[own])
            logs.append(
                -0.5 * (np.linalg.slogdet(covariance)[1] + values @ np.linalg.solve(covariance, values))
            )
        found = np.exp(np.array(logs) - max(logs))
        return found / found.sum()

    def _posterior(self, noise: np.ndarray, amplitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(EACH, cells)"""
        prior = self._prior(amplitudes)
        centre = np.zeros(len(self.curve))
        for curve in np.unique(self.curve):
            own = self.curve == curve
            centre[own] = self.cells.means[own & ~self.missing].mean() if (own & ~self.missing).any() else 0.0
        gain = np.linalg.solve(prior + noise, prior).T
        mean = centre + gain @ np.where(self.missing, 0.0, self.cells.means - centre)
        covariance = prior - gain @ prior
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # the same whichever signs LAPACK chose
        return mean + rng.standard_normal((EACH, len(mean))) @ root


def alike(decades: np.ndarray, length: float = LENGTH) -> np.ndarray:
    """(cells, cells): Matérn-3/2 correlation of a curve at these learning rates. decades: (cells,)."""
    far = np.sqrt(3) * np.abs(decades[:, None] - decades) / length
    return (1 + far) * np.exp(-far)


def _one(found: Scatter, rng: np.random.Generator) -> np.ndarray:
    """A draw of every cell's variance."""
    node = rng.choice(len(found.weights), p=found.weights)
    shares = found.shares[node].cumsum(-1)  # (cells, ratios)
    chosen = (rng.random((len(shares), 1)) > shares / shares[:, -1:]).sum(-1)
    return np.exp(found.nodes[node]) * ALL[chosen]


def _correlation(lt: Side, dense: Side) -> float:
    """Of LT's and pretraining's seeds at one learning rate, in CORRELATIONS: the posterior's mean, with all
    of these as likely at first, and the pairs' scatters unknown (Jeffreys)."""
    logs = np.zeros(len(CORRELATIONS))
    for a, b in pairs_of(lt.cells, dense.cells):
        both = [n for n in a.numbers if n in b.numbers]
        if len(both) < 2:
            continue
        x, y = (np.array([c.by_seed[n] for n in both]) for c in (a, b))
        x, y = x - x.mean(), y - y.mean()
        squares = float(x @ x) * float(y @ y)
        if squares > 0:
            r, freedom = float(x @ y) / np.sqrt(squares), len(both) - 1
            logs += freedom / 2 * np.log1p(-(CORRELATIONS**2))
            logs -= (freedom - 0.5) * np.log1p(-CORRELATIONS * r)
    found = np.exp(logs - logs.max())
    return float(CORRELATIONS @ found / found.sum()) if logs.any() else 0.0
