"""The paper's claims and those of later work as predicates: supported, contradicted, undecided, not run.

    for outcome in outcomes(scale("laptop"), store):
        print(outcome.claim.id, outcome.status, outcome.sentence)

A claim is a function `claim(results) -> Outcome` in the file of its group. What its words leave open, its
docstring decides. It is tried on the network and data of the scale, whatever these are, and says on
which. Its runs are those of the figures that it names, so they are trained once. Nothing here trains:
what the store lacks is not run.

The figure `claims` plans the runs of the paper's fourteen claims (TESTS). What later work states (FOLLOW_UPS)
is judged on what the figures controls, at-initialisation and stability have left in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lthpaper import data
from lthpaper.measures import contours, overlaps, stability
from lthpaper.runs import at_initialisation, controls, experiments, siblings
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.verdicts.claims import follow_ups
from lthpaper.verdicts.claims.ablations import claim_12, claim_13
from lthpaper.verdicts.claims.basins import claim_14
from lthpaper.verdicts.claims.outcome import Outcome
from lthpaper.verdicts.claims.patterns import claim_7, claim_8, claim_9, claim_11
from lthpaper.verdicts.claims.preliminary import claim_1, claim_2, claim_3, claim_4
from lthpaper.verdicts.claims.prizes import claim_5, claim_6
from lthpaper.verdicts.claims.results import NOTHING, Results
from lthpaper.verdicts.claims.weights import claim_10

CONTOURS = ("fig4", "fig5")


@dataclass(frozen=True)
class Test:
    """How a claim is tried. words: the claim in few. figures: those whose runs it reads."""

    __test__ = False  # not pytest's

    judge: Callable[[Results], Outcome]
    words: str
    figures: tuple[str, ...]


TESTS: dict[int | str, Test] = {
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
FOLLOW_UPS: dict[int | str, Test] = {
    "F1": Test(
        follow_ups.claim_f1, "random layer shares do as well as SNIP, GraSP, …", ("at-initialisation",)
    ),
    "F2": Test(follow_ups.claim_f2, "shuffling masks of θ0 costs nothing", ("at-initialisation",)),
    "F3": Test(follow_ups.claim_f3, "shuffling masks made after training hurts", ("controls",)),
    "F4": Test(follow_ups.claim_f4, "wide: a random ERK mask is as good as dense", ("controls",)),
    "F5": Test(follow_ups.claim_f5, "of a start, signs matter and magnitudes do not", ("controls",)),
    "F6": Test(follow_ups.claim_f6, "a mask permuted to the other start's basin works there", ("controls",)),
    "F7": Test(follow_ups.claim_f7, "subnetworks match where training is stable", ("stability",)),
    "F8": Test(follow_ups.claim_f8, "small lr: larger norms hide part of LT (ours)", ("controls",)),
}
ALL = TESTS | FOLLOW_UPS


def trials(scale: Scale) -> list[Trial]:
    """The runs of the paper's claims, each once."""
    return list(dict.fromkeys(trial for name in figures() for trial in experiments.trials(name, scale)))


def figures() -> list[str]:
    """The figures whose runs the paper's claims read, each once."""
    return list(dict.fromkeys(name for test in TESTS.values() for name in test.figures))


def gather(
    scale: Scale, store: Store, data_root: str | Path | None = None, surfaces: bool = False
) -> Results:
    """What the store holds of the runs of the paper's claims. surfaces: evaluate those loss surfaces that are
    not kept yet, in part or at all (minutes), instead of leaving them out."""
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


def gather_follow_ups(
    scale: Scale, store: Store, data_root: str | Path | None = None, barriers: bool = False
) -> Results:
    """What the store holds of the runs that later work's statements need. barriers: evaluate those between
    siblings whose weights are there (minutes), where they are not kept yet, instead of leaving them out."""

    def images() -> data.DataSet:
        return data.load(scale.data, data_root, *scale.task.division)

    planned = (
        *controls.of_scale(scale),
        *at_initialisation.of_scale(scale),
        *experiments.trials("fig1", scale),
    )
    runs = list(dict.fromkeys(planned))
    found = stability.barriers(siblings.of_scale(scale), store, images if barriers else None)
    return Results(scale, table(runs, store), barriers=found)


def judge(results: Results, tests: dict[int | str, Test] = TESTS) -> list[Outcome]:
    """The paper's claims in order, or those of FOLLOW_UPS."""
    return [test.judge(results) for test in tests.values()]


def outcomes(
    scale: Scale, store: Store, data_root: str | Path | None = None, surfaces: bool = False
) -> list[Outcome]:
    """All claims, the paper's and later ones, judged on what the store holds."""
    later = gather_follow_ups(scale, store, data_root, surfaces)
    return [*judge(gather(scale, store, data_root, surfaces)), *judge(later, FOLLOW_UPS)]


def board(found: list[Outcome]) -> pd.DataFrame:
    """One row per claim: its number and few words, both readings, our numbers and their seeds (n), the
    paper's, the evidence."""
    rows = [
        {
            "claim": o.claim.id,
            "words": ALL[o.claim.id].words,
            "status": o.status,
            "by the means": o.by_means,
            "ours": o.ours,
            "n": o.n,
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
