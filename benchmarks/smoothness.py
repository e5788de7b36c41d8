"""How smooth are accuracies over learning rates? `python benchmarks/smoothness.py`

The log-likelihood of the published curves (a figure at a scale; a curve is the means over seeds of one
setting, network and sparsity) under the prior of `lthpaper.verdicts.probabilities`, with its amplitudes
averaged over, for several lengths: the largest says what LENGTH should be.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from lthpaper import studies
from lthpaper.verdicts.probabilities import AMPLITUDES, LEVELS, alike

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # decades
FEWEST = 4  # learning rates of a curve


def curves(results: pd.DataFrame, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(log10 learning rates, means, variances of the means), of the learning rates from `least` on."""
    rows = results[results["lr"] >= least]
    by = ["network", "data", "sparsity", "setting"]
    for _, curve in rows.groupby(by):
        found = curve.groupby("lr")["accuracy"].agg(["mean", "var", "count"]).dropna()
        if len(found) >= FEWEST:
            yield (
                np.log10(found.index.to_numpy()),
                found["mean"].to_numpy(),
                (found["var"] / found["count"]).to_numpy(),
            )


def likelihood(decades: np.ndarray, means: np.ndarray, variances: np.ndarray, length: float) -> float:
    """Its logarithm, up to a constant that no length changes."""
    values, logs = means - means.mean(), []
    for amplitude in AMPLITUDES:
        covariance = LEVELS**2 + amplitude**2 * alike(decades, length) + np.diag(variances)
        logs.append(-0.5 * (np.linalg.slogdet(covariance)[1] + values @ np.linalg.solve(covariance, values)))
    return float(np.logaddexp.reduce(logs) - np.log(len(logs)))


def main() -> None:
    """Print a row for each smallest learning rate, a column for each length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", default="appendix-f")
    parser.add_argument("--scale", default="laptop")
    given = parser.parse_args()
    results = studies.study(given.figure, given.scale, train=False).results
    for least in sorted(results["lr"].unique())[:3]:
        found = list(curves(results, least))
        logs = [sum(likelihood(*curve, length) for curve in found) for length in LENGTHS]
        said = ", ".join(f"{length:g}: {log:.1f}" for length, log in zip(LENGTHS, logs, strict=True))
        print(f"{len(found)} curves from learning rate {least:g}: {said}")


if __name__ == "__main__":
    main()
