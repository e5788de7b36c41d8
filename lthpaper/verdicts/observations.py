"""Table 3's observations (§3.1): IMP or OMP, small or large learning rate, does θ0 matter, which tickets.

Each question compares the best of one side with the best of another over their learning rates, as
condition ③ does, and has three answers: one side is better by more than the clear gap of §2.2, the
other is, or they are alike. We could not see the body of the paper's Table 3, so what each question
compares is our choice.

    pruning   LT-IMP against LT-OMP
    rate      LT at small learning rates against LT at large ones, from either side of a fixed border
              (`characteristics.border`: 0.03 at batch 64), as in claims 1, 2 and 10. A border at the
              rate at which pretraining is *observed* to be best would move with luck, and the answer with it
    theta0    LT against RR, IMP and OMP together: condition ③ for the better of the two masks

Two readings, as in `lthpaper.verdicts.tickets`: by the means, and by the seeds, where an answer without a
confidence of `level` is "undecided". "alike" by the seeds means that either side's being better by
more than the gap is ruled out at `level`; it is not the mere absence of a proof.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from lthpaper.paper import thresholds as of_paper
from lthpaper.verdicts import cells as ticket_cells
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.characteristics import large_rates, small_rates
from lthpaper.verdicts.evidence import NOT_RUN, UNDECIDED, Evidence, always_signed, least
from lthpaper.verdicts.tickets import verdict
from lthpaper.verdicts.uncertainty import Comparison, best_against_best, beyond

ALIKE = "alike"
IMP, OMP, SMALL, LARGE, LT, RR = "IMP", "OMP", "small", "large", "LT", "RR"
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


def prefer(first: Side, second: Side, gap: float, level: float = 0.95) -> Preference:
    """Is the best of `first` clearly better, the best of `second`, or are they alike?"""
    if not (first.ran and second.ran):
        return Preference(NOT_RUN, NOT_RUN)
    if not (first.cells or second.cells):
        return Preference(UNDECIDED, UNDECIDED)
    if not (first.cells and second.cells):  # the other diverged at every learning rate
        better, gone = (first, second) if first.cells else (second, first)
        open_ = gone.missing + tuple((cell.setting, cell.lr) for cell in gone.torn)
        sure = None if 1 in (first.seeds, second.seeds) else 1.0
        found = Preference(better.name, UNDECIDED, confidence=sure, open=open_)
        return replace(found, ours=better.name) if found.supports(level) else found
    up = best_against_best(first.cells, second.cells, gap, True, level)
    down = best_against_best(second.cells, first.cells, gap, True, level)

    def answered(d: float) -> str:
        if beyond(d, gap, strict=True):
            return first.name
        return second.name if beyond(-d, gap, strict=True) else ALIKE

    d = up.difference
    answer = answered(d)
    tests: tuple[Comparison, ...] = (up, down)
    open_ = first.missing + second.missing
    if answer == first.name:
        tests, open_ = (up,), second.missing
    elif answer == second.name:
        tests, open_ = (down,), first.missing
    found = Preference(
        answer,
        UNDECIDED,
        difference=d,
        lrs=(up.best.lr, up.against.lr),
        confidence=least([t.confidence for t in tests]),
        low=up.low,
        high=up.high,
        open=open_ + ticket_cells.overturning(first, second, answered),
    )
    return replace(found, ours=answer) if found.supports(level) else found


def observations(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """One row per network, data set, number of epochs and sparsity of a tidy table.

    Columns: these four; kind_IMP, kind_IMP_ours, kind_OMP, kind_OMP_ours (of `verdicts.tickets`, "not
    run" where runs that decide are missing); for each question of QUESTIONS its answer, and with
    _ours, _difference, _low, _high, _lrs appended what Preference has; best_pretraining_lr, where
    pretraining is best by the means; theta0_at, the learning rates at which LT is clearly above RR of the
    same mask.
    """
    rows = []
    table = ticket_cells.checked(table)
    for (network, data), experiment in table.groupby(["network", "data"], sort=True):
        enough = experiment["epochs"].max()
        for epochs, same in experiment.groupby("epochs", sort=True):
            for s, rest in ticket_cells.by_sparsity(same):
                row = {"network": network, "data": data, "epochs": epochs, "sparsity": s}
                rows.append(row | _tickets(rest, enough, level) | _compared(rest, data, level))
    return pd.DataFrame(rows)


def _tickets(rest: pd.DataFrame, enough: int, level: float) -> dict[str, object]:
    row: dict[str, object] = {}
    for pruning in (IMP, OMP):
        found = verdict(rest, pruning=pruning, sufficient_epochs=enough, level=level)
        lacking = any(c.holds == NOT_RUN for c in found.conditions)
        for column, kind in ((f"kind_{pruning}", found.kind), (f"kind_{pruning}_ours", found.kind_ours)):
            row[column] = NOT_RUN if kind == UNDECIDED and lacking else kind
    return row


def _compared(rest: pd.DataFrame, data: str, level: float) -> dict[str, object]:
    gap, grid = of_paper(data).gap, set(rest["lr"])

    def side(name: str, *settings: str) -> Side:
        return ticket_cells.side(name, settings, rest, grid)

    imp, omp, dense = side(IMP, "LT-IMP"), side(OMP, "LT-OMP"), side("pretraining", "pretraining")
    lt, rr = side(LT, "LT-IMP", "LT-OMP"), side(RR, "RR-IMP", "RR-OMP")
    pivot = max(dense.cells, key=lambda c: c.mean).lr if dense.cells else None
    found = {
        "pruning": prefer(imp, omp, gap, level),
        "rate": _rate(lt, data, grid, gap, level),
        "theta0": prefer(lt, rr, gap, level),
    }
    row: dict[str, object] = {"best_pretraining_lr": pivot, "theta0_at": _where(lt, rr, gap)}
    for question, p in found.items():
        row |= {question: p.answer, f"{question}_ours": p.ours, f"{question}_difference": p.difference}
        row |= {f"{question}_low": p.low, f"{question}_high": p.high, f"{question}_lrs": p.lrs}
    return row


def _rate(lt: Side, data: str, grid: Iterable[float], gap: float, level: float) -> Preference:
    if not lt.ran:
        return Preference(NOT_RUN, NOT_RUN)
    small, large = small_rates(grid, data), large_rates(grid, data)
    if not (small and large):
        return Preference(NO_SMALLER, NO_SMALLER)
    return prefer(_part(lt, SMALL, small), _part(lt, LARGE, large), gap, level)


def _part(side: Side, name: str, lrs: Iterable[float]) -> Side:
    """A side at some of its learning rates."""
    diverged, missing = (tuple(x for x in found if x[1] in lrs) for found in (side.diverged, side.missing))
    cells, torn = (tuple(c for c in found if c.lr in lrs) for found in (side.cells, side.torn))
    return Side(name, cells, diverged, missing, torn=torn, seeds=side.seeds)


def _where(lt: Side, rr: Side, gap: float) -> tuple[float, ...]:
    """Learning rates at which LT is clearly above RR under the same mask, by the means."""
    means = {(c.setting.partition("-")[2], c.lr): c.mean for c in rr.cells}
    above = set()
    for c in lt.cells:
        other = means.get((c.setting.partition("-")[2], c.lr))
        if other is not None and beyond(c.mean - other, gap, strict=True):
            above.add(c.lr)
    return tuple(sorted(above))
