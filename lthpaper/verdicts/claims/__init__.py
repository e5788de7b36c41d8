"""The paper's fourteen claims as predicates over results: supported, contradicted, undecided, not run.

    for outcome in outcomes(scale("laptop"), store):
        print(outcome.claim.id, outcome.status, outcome.sentence)

A claim is a function `claim(results) -> Outcome` in the file of its group. What its words leave open, its
docstring decides. It is tried on the network and data of the scale, whatever these are, and says on
which. Its runs are those of the figures that it names, so they are trained once. Nothing here trains:
what the store lacks is not run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lthpaper.measures import contours, overlaps
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.verdicts.claims.ablations import claim_12, claim_13
from lthpaper.verdicts.claims.basins import claim_14
from lthpaper.verdicts.claims.outcome import Outcome
from lthpaper.verdicts.claims.patterns import claim_7, claim_8, claim_9, claim_11
from lthpaper.verdicts.claims.preliminary import claim_1, claim_2, claim_3, claim_4
from lthpaper.verdicts.claims.prizes import claim_5, claim_6
from lthpaper.verdicts.claims.results import NOTHING, Results, union
from lthpaper.verdicts.claims.weights import claim_10

CONTOURS = ("fig4", "fig5")


@dataclass(frozen=True)
class Test:
    """How a claim is tried. words: the claim in few. figures: those whose runs it reads."""

    __test__ = False  # not pytest's

    judge: Callable[[Results], Outcome]
    words: str
    figures: tuple[str, ...]

    def trials(self, scale: Scale) -> list[Trial]:
        """The runs that it needs at a scale."""
        return union(experiments.trials(name, scale) for name in self.figures)


TESTS = {
    1: Test(claim_1, "small lr: LT-IMP clearly above RR-IMP, close to pretraining", ("fig1",)),
    2: Test(claim_2, "large lr: LT-IMP ≈ RR-IMP, not close to pretraining", ("fig1",)),
    3: Test(claim_3, "few epochs make a “winning ticket” that more unmake", ("fig1",)),
    4: Test(claim_4, "the sufficient recipe is far above the insufficient", ("fig1",)),
    5: Test(claim_5, "no clear Jackpot ticket anywhere", ("appendix-f",)),
    6: Test(claim_6, "secondary prizes on small data, further with capacity", ("appendix-f",)),
    7: Test(claim_7, "residual: IMP above OMP; none: no advantage", ("appendix-f", *CONTOURS)),
    8: Test(claim_8, "residual: small lr preferred; none: large", ("appendix-f",)),
    9: Test(claim_9, "where large lr is preferred, θ0 ≈ θ0′", ("appendix-f",)),
    10: Test(claim_10, "R_p(θ0) above p at small lr, ≈ p at large; R_p(θ0′) ≈ p", ("fig6",)),
    11: Test(claim_11, "larger data: OMP above IMP, small lr not preferred", ("appendix-f",)),
    12: Test(claim_12, "weight rewinding improves throughout", ("appendix-d",)),
    13: Test(claim_13, "mixed learning rates improve slightly", ("table4",)),
    14: Test(claim_14, "residual: IMP's basin larger and smoother; none: alike", CONTOURS),
}


def trials(scale: Scale) -> list[Trial]:
    """The runs of all claims, each once."""
    return union(experiments.trials(name, scale) for name in figures())


def figures() -> list[str]:
    """The figures whose runs the claims read, each once."""
    return list(dict.fromkeys(name for test in TESTS.values() for name in test.figures))


def gather(
    scale: Scale, store: Store, data_root: str | Path | None = None, surfaces: bool = False
) -> Results:
    """What the store holds of the claims' runs. surfaces: evaluate those loss surfaces that are not kept
    yet, in part or at all (minutes), instead of leaving them out."""
    correlations = overlaps.measure(experiments.trials("fig6", scale), store, scale, data_root)
    seen = []
    for name in CONTOURS:
        there = [t for t in experiments.trials(name, scale) if t.run in store]
        if not surfaces:
            there = [t for t in there if contours.is_measured(t.run, store, scale)]
        if there:
            seen.append(contours.numbers(contours.measure(there, store, scale, data_root)))
    surfaces_seen = pd.concat(seen, ignore_index=True) if seen else NOTHING
    return Results(scale, table(trials(scale), store), correlations, surfaces_seen)


def judge(results: Results) -> list[Outcome]:
    """All claims, in order."""
    return [test.judge(results) for test in TESTS.values()]


def outcomes(
    scale: Scale, store: Store, data_root: str | Path | None = None, surfaces: bool = False
) -> list[Outcome]:
    """All claims, judged on what the store holds."""
    return judge(gather(scale, store, data_root, surfaces))


def board(found: list[Outcome]) -> pd.DataFrame:
    """One row a claim: its number and few words, both readings, our numbers, the paper's, the evidence."""
    rows = [
        {
            "claim": o.claim.id,
            "words": TESTS[o.claim.id].words,
            "status": o.status,
            "by the means": o.by_means,
            "ours": o.ours,
            "paper": o.paper,
            "tried on": o.tried_on,
            "artefact": o.claim.artefact,
            "evidence": o.sentence,
        }
        for o in found
    ]
    return pd.DataFrame(rows)


def scoreboard(
    scale: Scale, store: Store, data_root: str | Path | None = None, surfaces: bool = False
) -> pd.DataFrame:
    """The claims and how they fare: `board` of `outcomes`. It trains nothing."""
    return board(outcomes(scale, store, data_root, surfaces))


def evidence(found: list[Outcome]) -> pd.DataFrame:
    """Every comparison of every claim, one row each (outcome.EVIDENCE)."""
    frames = [o.evidence for o in found if o.parts]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
