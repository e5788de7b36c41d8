"""Claim 10: R_p, whether a trained network's large weights lie where θ0's did (Figure 6)."""

import numpy as np
import pandas as pd
from scipy import stats

from lthpaper.characteristics import large_rates, small_rates
from lthpaper.claims.outcome import Outcome, Part, ranges
from lthpaper.claims.relations import where
from lthpaper.claims.results import Results
from lthpaper.conditions import NO, YES
from lthpaper.paper import CLAIMS

P = 0.1  # Figure 6's
START, REDRAWN = "θ0, θT", "θ0′, θT"  # the pairs of the overlaps' table
# "R_p ≈ p": the text names no tolerance. Half of p (ours), or the band of chance where that is wider.
ABOUT = 0.5


def claim_10(results: Results) -> Outcome:
    """θ0: above chance at small learning rates, about p at large ones. θ0′: about p at all."""
    table = results.overlaps
    if table.empty:
        return Outcome(CLAIMS[9], note="The weights of Figure 6 were not read.")
    table = table[(table["pooled"] == "within layers") & np.isclose(table["p"].astype(float), P)]
    parts = []
    for (network, data), rows in table.dropna(subset="overlap").groupby(["network", "data"]):
        rates = rows["lr"].unique()
        for pair, lrs, above in (
            (START, small_rates(rates), True),
            (START, large_rates(rates), False),
            (REDRAWN, tuple(sorted(rates)), False),
        ):
            for lr in lrs:
                cell = rows[(rows["pair"] == pair) & (rows["lr"] == lr)]
                about = {"network": network, "data": data, "lr": lr, "sparsity": cell["sparsity"].iloc[0]}
                parts.append(_part(pair, cell, above, about))
    note = "" if parts else "The weights of Figure 6 are not in the store."
    return Outcome(CLAIMS[9], tuple(parts), ranges(parts, "{:.2f}".format), f"p = {P}", note)


def _part(pair: str, cell: pd.DataFrame, above: bool, about: dict[str, object]) -> Part:
    """One learning rate: the mean R_p over seeds against the band of chance, or p's surroundings."""
    values, low, high = (cell[name].to_numpy(float) for name in ("overlap", "low", "high"))
    mean = float(values.mean())
    if above:
        label, bounds = f"R_p({pair}), small rates", (float(high.mean()), np.inf)
        needed = f"above chance, {bounds[0]:.3f}"
    else:
        label = f"R_p({pair}), {'large' if pair == START else 'all'} rates"
        bounds = min(float(low.mean()), P * (1 - ABOUT)), max(float(high.mean()), P * (1 + ABOUT))
        needed = f"from {bounds[0]:.3f} to {bounds[1]:.3f}"
    inside = bounds[0] < mean < bounds[1]
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    confidence = None if spread is None else _sure(mean, spread, len(values), bounds)
    sentence = (
        f"{where(about)}R_p({pair}) at learning rate {about['lr']:g} is {mean:.3f}, needed {needed}: "
        f"{'holds' if inside else 'fails'} in the mean of {len(values)} seed{'s' * (len(values) != 1)}."
    )
    return Part(
        label,
        needed,
        YES if inside else NO,
        sentence,
        about,
        mean,
        seeds=len(values),
        confidence=confidence,
    )


def _sure(mean: float, spread: float, n: int, bounds: tuple[float, float]) -> float:
    """Student's t for the nearer bound, one-sided."""
    distance = min(abs(mean - bound) for bound in bounds)
    if spread == 0:
        return 1.0
    return float(stats.t.cdf(distance / (spread / np.sqrt(n)), n - 1))
