"""Table 3's observations (§3.1): IMP or OMP, small or large learning rate, does θ0 matter, which tickets.

Each question compares the best of one side with the best of another over their learning rates, as
condition ③ does, and has three answers: one side is better by more than the clear gap of §2.2, the
other is, or they are alike. We could not see the body of the paper's Table 3, so what each question
compares is our choice.

    pruning   LT-IMP against LT-OMP
    rate      LT at small learning rates against LT at large ones, from either side of a fixed border
              (`characteristics.border`: 0.03 at batch 64), as in claims 1, 2 and 10. A border at the
              rate at which pretraining is *observed* to be best would move with luck, and the answer with it
    theta0    LT against RR, IMP and OMP together: condition ③ for the better of the two masks, each setting
              at its best on the test images, as in the paper, also where validation images were held out

Two readings, as in `lthpaper.verdicts.tickets`: by the means, and by the seeds, where an answer without a
confidence of LEVEL is "undecided". "alike" by the seeds means that either side's being better by
more than the gap is ruled out at LEVEL; it is not the mere absence of a proof.
"""

from dataclasses import dataclass, replace

import pandas as pd

from lthpaper.paper import thresholds as of_paper
from lthpaper.verdicts import cells
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.characteristics import large_rates, small_rates
from lthpaper.verdicts.evidence import LEVEL, NO, NOT_RUN, UNDECIDED, YES, Evidence, always_signed, least
from lthpaper.verdicts.relations import ABOVE, relate
from lthpaper.verdicts.tickets import verdict
from lthpaper.verdicts.uncertainty import beyond

ALIKE = "alike"
IMP, OMP, SMALL, LARGE, LT, RR = "IMP", "OMP", "small", "large", "LT", "RR"
BOTH = ("LT-IMP", "LT-OMP")
QUESTIONS = {"pruning": (IMP, OMP), "rate": (SMALL, LARGE), "theta0": (LT, RR)}
NO_SMALLER = "one-sided grid"  # it has no small learning rate, or no large one: nothing to ask


def lead(question: str, answer: str, difference: float | None) -> str:
    """Points by which the better one leads, " (+1.0)"; first less second where both are alike. answer: by
    the means."""
    if difference is None or pd.isna(difference):
        return ""
    return f" ({always_signed(abs(difference) if answer in QUESTIONS[question] else difference, 1)})"


@dataclass(frozen=True)
class Preference(Evidence):
    """Which of two sides is better, one of their names, "alike", "undecided" or "not run", and the evidence.

    answer: by the means; ours: by the seeds. difference: first less second, points, of the bests. lrs: the
    learning rates of the two bests.
    """

    answer: str
    ours: str
    difference: float | None = None
    lrs: tuple[float, ...] = ()


def prefer(first: Side, second: Side, gap: float) -> Preference:
    """Is the best of `first` clearly better, the best of `second`, or are they alike?"""
    up, down = relate(first, ABOVE, second, gap, {}), relate(second, ABOVE, first, gap, {})
    if up.by_means not in (YES, NO):
        return Preference(up.by_means, up.by_means)
    answer, rests_on = ALIKE, [up, down]
    if YES in (up.by_means, down.by_means):
        answer, rests_on = (first.name, [up]) if up.by_means == YES else (second.name, [down])
    found = Preference(
        answer,
        UNDECIDED,
        confidence=least([part.confidence for part in rests_on]),
        low=up.low,
        high=up.high,
        open=tuple(place for part in rests_on for place in part.open),
    )
    if first.cells and second.cells:  # else one diverged at every learning rate
        a, b = (max(side.cells, key=lambda c: c.mean) for side in (first, second))
        found = replace(found, difference=a.mean - b.mean, lrs=(a.lr, b.lr))
    return replace(found, ours=answer) if found.supports(LEVEL) else found


def observations(table: pd.DataFrame) -> pd.DataFrame:
    """One row per network, data set, number of epochs and sparsity of a tidy table.

    Columns: these four; kind_IMP, kind_IMP_ours, kind_OMP, kind_OMP_ours (of `verdicts.tickets`, "not
    run" where runs that decide are missing); for each question of QUESTIONS its answer, and with
    _ours, _difference, _low, _high, _lrs appended what Preference has; best_pretraining_lr, where
    pretraining is best by the means; theta0_at, the learning rates at which LT is clearly above RR of the
    same mask.
    """
    rows = []
    table = cells.checked(table)
    for (network, data), experiment in table.groupby(["network", "data"], sort=True):
        enough = experiment["epochs"].max()
        for epochs, same in experiment.groupby("epochs", sort=True):
            for s, rest in cells.by_sparsity(same):
                row = {"network": network, "data": data, "epochs": epochs, "sparsity": s}
                rows.append(row | _tickets(rest, enough) | _compared(rest, data))
    return pd.DataFrame(rows)


def _tickets(rest: pd.DataFrame, enough: int) -> dict[str, object]:
    row: dict[str, object] = {}
    for pruning in (IMP, OMP):
        found = verdict(rest, pruning=pruning, sufficient_epochs=enough, quick=True)
        lacking = any(c.holds == NOT_RUN for c in found.conditions)
        for column, kind in ((f"kind_{pruning}", found.kind), (f"kind_{pruning}_ours", found.kind_ours)):
            row[column] = NOT_RUN if kind == UNDECIDED and lacking else kind
    return row


def _compared(rest: pd.DataFrame, data: str) -> dict[str, object]:
    gap, grid = of_paper(data).gap, set(rest["lr"])
    imp, omp = cells.side(rest, "LT-IMP", name=IMP), cells.side(rest, "LT-OMP", name=OMP)
    lt, rr = cells.side(rest, *BOTH, name=LT), cells.side(rest, "RR-IMP", "RR-OMP", name=RR)
    dense = cells.side(rest, "pretraining")
    small, large = small_rates(grid, data), large_rates(grid, data)
    rate = Preference(NO_SMALLER, NO_SMALLER) if lt.ran else Preference(NOT_RUN, NOT_RUN)
    if lt.ran and small and large:
        at_small, at_large = (
            cells.side(rest, *BOTH, lrs=lrs, name=name) for lrs, name in ((small, SMALL), (large, LARGE))
        )
        rate = prefer(at_small, at_large, gap)
    pivot = max(dense.cells, key=lambda c: c.mean).lr if dense.cells else None
    row: dict[str, object] = {"best_pretraining_lr": pivot, "theta0_at": _where(lt, rr, gap)}
    found = {"pruning": prefer(imp, omp, gap), "rate": rate, "theta0": prefer(lt, rr, gap)}
    for question, p in found.items():
        row |= {question: p.answer, f"{question}_ours": p.ours, f"{question}_difference": p.difference}
        row |= {f"{question}_low": p.low, f"{question}_high": p.high, f"{question}_lrs": p.lrs}
    return row


def _where(lt: Side, rr: Side, gap: float) -> tuple[float, ...]:
    """Learning rates at which LT is clearly above RR under the same mask, by the means."""
    means = {(c.setting.partition("-")[2], c.lr): c.mean for c in rr.cells}
    above = set()
    for c in lt.cells:
        other = means.get((c.setting.partition("-")[2], c.lr))
        if other is not None and beyond(c.mean - other, gap, strict=True):
            above.add(c.lr)
    return tuple(sorted(above))
