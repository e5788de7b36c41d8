"""Claim 10: R_p, whether a trained network's large weights lie where θ0's did (Figure 6)."""

import numpy as np
import pandas as pd
import scipy

from lthpaper.measures.overlaps import MAIN, PAIRS, WITHIN
from lthpaper.paper import CLAIMS
from lthpaper.verdicts.characteristics import large_rates, small_rates
from lthpaper.verdicts.claims.outcome import Outcome, ranges
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES, always_signed
from lthpaper.verdicts.relations import Part, rows, where

P = MAIN
START, REDRAWN = PAIRS
# "R_p ≈ p": the text names no tolerance. Half of p (ours), or the band of chance where that is wider.
ABOUT = 0.5
LEAST_SCATTER = 5e-4  # of R_p over seeds: two may agree by chance to the digits that are shown


def claim_10(results: Results) -> Outcome:
    """θ0: above chance at small learning rates, about p at large ones, so higher at small than at large.
    θ0′: about p at all.

    The contrast is of each seed's mean over small and over large rates: an R_p that is as far above chance at
    every rate, or rises with it, is not the claim. On every network and learning rate of Figure 6; one at
    which a seed diverged has no θT to compare.
    """
    table = results.overlaps
    if table.empty:
        return Outcome(CLAIMS[9], note="The weights of Figure 6 were not read.")
    table = table[(table["pooled"] == WITHIN) & np.isclose(table["p"].astype(float), P)]
    # A run that is there has survivors, or a band of chance; R_p is then missing because it diverged.
    table = table[table[table.columns.intersection(["overlap", "low", "survivors"])].notna().any(axis=1)]
    parts, diverged = [], []
    for (network, data, s), planned in _planned(results).items():
        cells = rows(table, network=network, data=data)
        cells = cells[np.isclose(cells["sparsity"].astype(float), s, atol=0.005)]
        lost = set(cells.loc[cells["overlap"].isna(), "lr"])
        diverged += [f"{network} at {lr:g}" for lr in sorted(lost)]
        about = {"network": network, "data": data, "sparsity": s}
        for pair, lrs, above in (
            (START, small_rates(planned, data), True),
            (START, large_rates(planned, data), False),
            (REDRAWN, tuple(sorted(planned)), False),
        ):
            if set(lrs) <= lost:
                why = "diverged at each" if lrs else "the scale has no such learning rate"
                parts.append(_open(pair, above, about, UNDECIDED if lrs else NOT_RUN, why))
            for lr in lrs:
                cell = cells[(cells["pair"] == pair) & (cells["lr"] == lr)]
                if cell.empty:
                    parts.append(_open(pair, above, about | {"lr": lr}, NOT_RUN, f"not run at {lr:g}"))
                elif lr not in lost:
                    parts.append(_part(pair, cell, above, about | {"lr": lr}))
        parts += _contrast(cells, set(planned) - lost, about)
    ran = any(part.by_means != NOT_RUN for part in parts)
    note = f"Left out, diverged: {', '.join(diverged)}." if diverged else ""
    note = note if ran else f"The weights of Figure 6 are not in the store. {note}".strip()
    return Outcome(CLAIMS[9], tuple(parts), ranges(parts, "{:.2f}".format), f"p = {P}", note)


def _contrast(cells: pd.DataFrame, rates: set[float], about: dict[str, object]) -> list[Part]:
    """R_p(θ0, θT) at small less at large rates, seed by seed; nothing where either is not there."""
    label = f"R_p({START}), small − large rates"
    both = cells[(cells["pair"] == START) & cells["lr"].isin(rates)].dropna(subset="overlap")
    small, large = (
        both[both["lr"].isin(some)].groupby("seed")["overlap"].mean()
        for some in (small_rates(rates, str(about["data"])), large_rates(rates, str(about["data"])))
    )
    differences = (small - large).dropna().to_numpy(float)
    if not len(differences):
        return []
    n = len(differences)
    mean, holds, confidence = _mean_within(differences, (0.0, np.inf))
    sentence = (
        f"{where(about)}R_p({START}) at small rates less at large ones is {always_signed(mean, 3)}, needed "
        f"above 0: {'holds' if holds == YES else 'fails'} in {_mean_of(n)}."
    )
    return [Part(label, "above 0", holds, sentence, about, mean, seeds=n, confidence=confidence)]


def _planned(results: Results) -> dict[tuple[str, str, float], set[float]]:
    """(network, data, sparsity) -> learning rates, as Figure 6 has them at this scale."""
    found: dict[tuple[str, str, float], set[float]] = {}
    for trial in results.planned("fig6"):
        run = trial.run
        found.setdefault((run.task.network, run.task.data, trial.sparsity), set()).add(run.recipe.lr)
    return found


def _label(pair: str, above: bool) -> str:
    return f"R_p({pair}), {'small' if above else 'large' if pair == START else 'all'} rates"


def _open(pair: str, above: bool, about: dict[str, object], status: str, why: str) -> Part:
    label = _label(pair, above)
    return Part(label, "", status, f"{where(about)}{label}: {why}.", about)


def _part(pair: str, cell: pd.DataFrame, above: bool, about: dict[str, object]) -> Part:
    """One learning rate: the mean R_p over seeds against the band of chance, or p's surroundings."""
    values, low, high = (cell[name].to_numpy(float) for name in ("overlap", "low", "high"))
    if above:
        bounds = (float(high.mean()), np.inf)
        needed = f"above chance, {bounds[0]:.3f}"
    else:
        bounds = min(float(low.mean()), P * (1 - ABOUT)), max(float(high.mean()), P * (1 + ABOUT))
        needed = f"from {bounds[0]:.3f} to {bounds[1]:.3f}"
    mean, holds, confidence = _mean_within(values, bounds)
    n = len(values)
    sentence = (
        f"{where(about)}R_p({pair}) at learning rate {about['lr']:g} is {mean:.3f}, needed {needed}: "
        f"{'holds' if holds == YES else 'fails'} in {_mean_of(n)}."
    )
    return Part(_label(pair, above), needed, holds, sentence, about, mean, seeds=n, confidence=confidence)


def _mean_of(n: int) -> str:
    return "the one seed" if n == 1 else f"the mean of {n} seeds"


def _mean_within(values: np.ndarray, bounds: tuple[float, float]) -> tuple[float, str, float | None]:
    """The mean over seeds, whether it lies between the bounds, and the confidence in that (Student's t for
    the nearer bound, one-sided; None for one seed)."""
    mean, n = float(values.mean()), len(values)
    holds = YES if bounds[0] < mean < bounds[1] else NO
    if n == 1:
        return mean, holds, None
    spread = max(float(values.std(ddof=1)), LEAST_SCATTER)
    distance = min(abs(mean - bound) for bound in bounds)
    return mean, holds, float(scipy.stats.t.cdf(distance / (spread / np.sqrt(n)), n - 1))
