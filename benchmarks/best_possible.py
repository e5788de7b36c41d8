"""What any test must pay for not being fooled by one wild cell: the bound that docs/statistics.md quotes.

    python benchmarks/best_possible.py

One cell's mean is held against a threshold, at n seeds. The other cells' variance is known to be 1, the
rival's too; the cell's own is ρ ≥ 1, unknown. Among all rules that call with probability at most `ordinary`
where ρ = 1 and `wild` where it is larger, a linear program finds the one that calls a true difference most
often (on a grid of means and sample variances). The difference is what a test that pools calls with
probability 0.75.
"""

import numpy as np
from scipy import optimize, stats

RATIOS = np.array([1, 1.5, 2, 3, 4, 6, 10, 16, 25, 50, 100, 300, 1000])
MEANS = np.linspace(0, 14, 141)
LOGS = np.linspace(np.log(0.01), np.log(400), 60)  # of the sample variance
POOLED = 0.75


def power(seeds: int, ordinary: float, wild: float) -> float:
    """The most that can be reached."""
    between = np.concatenate([[0], np.exp((LOGS[1:] + LOGS[:-1]) / 2), [np.inf]])
    edges = np.concatenate([[MEANS[0] - (MEANS[1] - MEANS[0]) / 2], (MEANS[1:] + MEANS[:-1]) / 2, [np.inf]])

    def density(ratio: float, shift: float = 0.0) -> np.ndarray:
        """Of the means × variances, flat."""
        of_mean = np.diff(stats.norm.cdf((edges - shift) / np.sqrt((ratio + 1) / seeds)))
        f = seeds - 1
        return np.outer(of_mean, np.diff(stats.chi2.cdf(f * between / ratio, f))).ravel()

    shift = np.sqrt(2 / seeds) * (stats.norm.isf(ordinary) + stats.norm.ppf(POOLED))
    limits = [ordinary if ratio == 1 else wild for ratio in RATIOS]
    rows = np.array([density(ratio) for ratio in RATIOS])
    found = optimize.linprog(-density(1, shift), A_ub=rows, b_ub=limits, bounds=(0, 1), method="highs")
    return float(-found.fun)


if __name__ == "__main__":
    for seeds in (3, 5):
        for ordinary, wild in ((0.05, 0.055), (0.0073, 0.013), (0.0035, 0.03)):
            print(
                f"n = {seeds}, {ordinary:.2%} and {wild:.2%}: {power(seeds, ordinary, wild):.2f} of {POOLED}"
            )
