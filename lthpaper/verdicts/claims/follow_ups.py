"""What later work states, on the runs of the figures controls, at-initialisation and stability.

Unless a docstring says more, each setting is compared at its best learning rate, as in condition ③, at every
sparsity of the figure; "hurts" and "better" are by more than the paper's clear gap, "as good" is within its
similarity. A claim about masks from training is tried on IMP's and OMP's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lthpaper.measures.stability import STABLE
from lthpaper.paper import Claim
from lthpaper.paper.follow_ups import FOLLOW_UPS
from lthpaper.runs.at_initialisation import AT_THETA0
from lthpaper.runs.controls import MASKS
from lthpaper.verdicts import cells
from lthpaper.verdicts.characteristics import large_rates, small_rates
from lthpaper.verdicts.claims.outcome import Outcome, ranges
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.evidence import NO, UNDECIDED
from lthpaper.verdicts.relations import ABOVE, BELOW, LIKE, NOT_ABOVE, NOT_BELOW, Part

CLAIMS = {claim.id: claim for claim in FOLLOW_UPS}
NARROW = "The claim is about wide networks, so that a narrow one falls short leaves it open."
DENSE = "Frankle et al. 2020 state it of the subnetwork's own stability, which was not measured."


def claim_f1(results: Results) -> Outcome:
    """No rule that sees data or weights at initialisation is clearly better than random-erk, whose shares of
    the layers stand for Su's smart ratios (ours)."""
    parts = [
        results.compare(f"LT-{name}", NOT_ABOVE, "random-erk", results.limits.gap, s)
        for s in _sparsities(results, *(f"LT-{name}" for name in AT_THETA0))
        for name in AT_THETA0
    ]
    return _outcome("F1", parts)


def claim_f2(results: Results) -> Outcome:
    """No rule at initialisation is clearly better than its own mask shuffled."""
    parts = [
        results.compare(f"LT-{name}", NOT_ABOVE, f"LT-shuffled-{name}", results.limits.gap, s)
        for s in _sparsities(results, *(f"LT-shuffled-{name}" for name in AT_THETA0))
        for name in AT_THETA0
    ]
    return _outcome("F2", parts)


def claim_f3(results: Results) -> Outcome:
    """LT under IMP's and OMP's mask is clearly better than under that mask shuffled."""
    parts = [
        results.compare(f"LT-{mask}", ABOVE, f"LT-shuffled-{mask}", results.limits.gap, s)
        for mask in MASKS
        for s in _sparsities(results, f"LT-shuffled-{mask}")
    ]
    return _outcome("F3", parts)


def claim_f4(results: Results) -> Outcome:
    """random-erk is not below pretraining by more than "similar". Where it is, the claim stays open: the
    figure trains no wide network."""
    parts = [
        results.compare("random-erk", NOT_BELOW, "pretraining", -results.limits.similar, s)
        for s in _sparsities(results, "random-erk")
    ]
    return _outcome("F4", [replace(p, by_means=UNDECIDED) if p.by_means == NO else p for p in parts], NARROW)


def claim_f5(results: Results) -> Outcome:
    """θ0 with other signs is clearly worse than LT; θ0′ with θ0's signs is as good as LT."""
    parts, limits = [], results.limits
    for mask in MASKS:
        for s in _sparsities(results, f"LT@RRsigns-{mask}"):
            lt = f"LT-{mask}"
            parts.append(results.compare(lt, ABOVE, f"LT@RRsigns-{mask}", limits.gap, s))
            parts.append(results.compare(f"RR@LTsigns-{mask}", NOT_BELOW, lt, -limits.similar, s))
    return _outcome("F5", parts)


def claim_f6(results: Results) -> Outcome:
    """RR under the carried mask is clearly better than RR, and not below LT by more than "similar"."""
    parts, limits = [], results.limits
    for mask in MASKS:
        for s in _sparsities(results, f"RR-permuted-{mask}"):
            ours = f"RR-permuted-{mask}"
            parts.append(results.compare(ours, ABOVE, f"RR-{mask}", limits.gap, s))
            parts.append(results.compare(ours, NOT_BELOW, f"LT-{mask}", -limits.similar, s))
    return _outcome("F6", parts)


def claim_f7(results: Results) -> Outcome:
    """At each learning rate: where pretraining from θ0 is stable, LT-IMP is as good as pretraining there, and
    where not, it is below by more than "similar". Stable: the mean barrier of the test error is below 2
    points (results.barriers; a barrier's own uncertainty is not counted). A rate at which every pair diverged
    has no barrier and is left out.

    The source asks whether the subnetwork's own training is stable; the dense network's stands for it."""
    parts = []
    barriers = results.barriers
    of_start = barriers[(barriers["k"] == 0) & barriers["test"].notna()] if len(barriers) else barriers
    for lr, seeds in of_start.groupby("lr") if len(of_start) else ():
        stable = seeds["test"].mean() < STABLE
        relation = NOT_BELOW if stable else BELOW
        for s in _sparsities(results, "LT-IMP"):
            label = f"LT-IMP − pretraining, {'stable' if stable else 'not stable'}"
            margin = -results.limits.similar
            parts.append(results.compare("LT-IMP", relation, "pretraining", margin, s, (lr,), label))
    return _outcome("F7", parts, DENSE)


def claim_f8(results: Results) -> Outcome:
    """At every small learning rate LT is better at RR's norms than at its own, by any amount; at every large
    one the two are similar."""
    parts = []
    for mask in MASKS:
        for s in _sparsities(results, f"LT@RRnorms-{mask}"):
            rates = sorted(results.network(results.scale.recipe.epochs, s)["lr"].unique())
            equal, lt = f"LT@RRnorms-{mask}", f"LT-{mask}"
            for lr in small_rates(rates, results.scale.data):
                label = f"{equal} − {lt}, small rates"
                parts.append(results.compare(equal, ABOVE, lt, 0.0, s, (lr,), label))
            for lr in large_rates(rates, results.scale.data):
                label = f"{equal} − {lt}, large rates"
                parts.append(results.compare(equal, LIKE, lt, results.limits.similar, s, (lr,), label))
    return _outcome("F8", parts)


def _outcome(name: str, parts: Sequence[Part], note: str = "") -> Outcome:
    claim: Claim = CLAIMS[name]
    return Outcome(claim, tuple(parts), ranges(parts), claim.artefact, note)


def _sparsities(results: Results, *settings: str) -> Iterator[float]:
    """Those at which any of the settings has a result, in rising order."""
    table = results.network(results.scale.recipe.epochs)
    table = table[cells.trained(table) & table["setting"].isin(settings)]
    yield from (s for s, _ in cells.by_sparsity(table))
