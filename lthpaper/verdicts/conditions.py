"""Conditions ① to ⑤ of §2.2, each judged with its evidence (`tickets.py` states them formally)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lthpaper.paper import Thresholds
from lthpaper.runs.recipe import epochs_said
from lthpaper.verdicts.cells import Side, pairs_of
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES, Evidence, always_signed, as_chance
from lthpaper.verdicts.luck import contending
from lthpaper.verdicts.relations import ABOVE, NOT_BELOW, WORDS, overturning
from lthpaper.verdicts.uncertainty import (
    DECIMALS,
    Cell,
    Comparison,
    arrays,
    best_against_best,
    best_pair,
    beyond,
    paired,
)

SYMBOLS = "①②③④⑤"
RELATIONS = {2: ABOVE, 3: ABOVE, 4: NOT_BELOW, 5: NOT_BELOW}  # of LT's best to the other side's


@dataclass(frozen=True)
class Condition(Evidence):
    """One condition's verdict, and the evidence for `holds`.

    holds, holds_ours: "yes", "no", "undecided", "not run"; by the means, and with confidence.
    difference: points, as low and high (①: sparsity). threshold: what the difference is compared with.
    lrs: the subnetwork's learning rates at which it holds. best, against: (setting, learning rate) of
    the difference. more_seeds: see Comparison. mark: of a stricter control than the paper's, "m" for ③m.
    """

    number: int
    holds: str
    holds_ours: str
    threshold: float
    sentence: str
    difference: float | None = None
    lrs: tuple[float, ...] = ()
    best: tuple[str, float] | None = None
    against: tuple[str, float] | None = None
    more_seeds: int | None = None
    mark: str = ""

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.number - 1] + self.mark

    def marked(self, mark: str) -> "Condition":
        """The same under the name that a stricter control gives it."""
        sentence = self.sentence.replace(self.symbol, self.symbol + mark, 1)
        return replace(self, mark=mark, sentence=sentence)


def first(
    s: float, epochs: int, limits: Thresholds, sufficient: int | None, doubt: str = "", sure: bool = True
) -> Condition:
    """①: sparsity and length. sufficient: epochs asked of T; None: nobody stated them. doubt: why pretraining
    has not converged, in words; T is then not sufficient, whatever was stated. sure: whether that is so
    wherever the truly best learning rate may lie."""
    trivial = is_trivial(s, limits)
    short = trivial or not (sufficient is None or epochs >= sufficient)
    holds = NO if short or doubt else YES
    ours = UNDECIDED if doubt and not (short or sure) else holds
    length = (
        f"T = {epochs_said(epochs)} (assumed sufficient: no number was stated)"
        if sufficient is None and not doubt
        else f"{epochs_said(epochs)} (needed: {sufficient or 'convergence'})"
    )
    joined = "and" if trivial else "but"
    sentence = (
        f"① sparsity {s:.3f} (needed: above {limits.sparsity:g}) after {length}"
        f"{f', {joined} {doubt}' * bool(doubt)}: {'holds' if holds == YES else 'fails'}"
        f"{', which is undecided by the seeds: another rate may truly serve' * (ours != holds)}."
    )
    confidence = None if ours == UNDECIDED else 1.0
    return Condition(1, holds, ours, limits.sparsity, sentence, s, confidence=confidence)


def is_trivial(s: float, limits: Thresholds) -> bool:
    """Whether a sparsity is too small for ①, whatever is trained."""
    return not beyond(s, limits.sparsity, strict=True)


def unknown(limits: Thresholds) -> Condition:
    """① where pretraining diverged at every learning rate: nothing says whether T is sufficient."""
    return _bare(1, UNDECIDED, limits.sparsity, "pretraining diverged at every learning rate")


def doubt(
    unconverged: Mapping[float, float], lt: Side, dense: Side, fourth: Condition, level: float
) -> tuple[str, bool]:
    """Why T is not sufficient, in words, "" if nothing speaks against it; and whether that is sure.

    unconverged: pretraining's, with what is left of the training loss. What a ticket rests on has to have
    converged: pretraining at its best learning rate, and at one at least of those at which ④ holds. That it
    has not is sure where it has at no rate that may truly be the best, or at which ④ may truly hold.
    """
    best = [dense.best.lr] if dense.cells else []
    for where, rates in (("is best", best), ("④ holds", fourth.lrs)):
        if rates and set(rates) <= set(unconverged):
            lr = max(rates)
            words = (
                f"pretraining has not converged at {lr:g}, where {'it ' * (where == 'is best')}{where}: "
                f"{unconverged[lr]:.0%} of its training loss is left"
            )
            may = _may_be_best(dense) if rates is best else _may_hold(lt, dense, fourth, level)
            return words, may <= set(unconverged)
    return "", True


def _may_be_best(side: Side) -> set[float]:
    """Learning rates near the best."""
    return {c.lr for c, near in zip(side.cells, contending(arrays(side.cells)), strict=True) if near}


def _may_hold(lt: Side, dense: Side, fourth: Condition, level: float) -> set[float]:
    """Learning rates at which ④ does not fail with confidence `level`."""
    pairs = pairs_of(lt.cells, dense.cells)
    test = paired(pairs)
    below = test.below(fourth.threshold) if test.spread else [1.0] * len(pairs)
    return {a.lr for (a, _), p in zip(pairs, below, strict=True) if p > 1 - level}


def unfulfilled(conditions: Iterable[Condition]) -> float:
    """Confidence that one of these fails; 0 if none does by the means, or seeds or runs are missing.

    The least p-value among ② to ⑤ is multiplied by m where m of them were tried (Holm's first step), since
    any of m could fail by luck. ① is no matter of luck."""
    known = [(c, c.confidence) for c in conditions if c.confidence is not None]
    judged = sum(c.number > 1 for c, _ in known)
    failing = [(c, confidence) for c, confidence in known if c.holds == NO and not c.open]
    sure = [1.0 if c.number == 1 else max(0.0, 1 - judged * (1 - p)) for c, p in failing]
    return max(sure, default=0.0)


def condition(
    number: int, lt: Side, other: Side, threshold: float, level: float, bounds: bool = True
) -> Condition:
    """② to ⑤: the best of `lt` against the best of `other`; ④: at the same learning rate. Where both sides
    have validation images, these say which is best (`_chosen`). bounds: whether to find `low` and `high`."""
    relation = RELATIONS[number]
    absent = [side.name for side in (lt, other) if not side.ran]
    if absent:
        return _bare(number, NOT_RUN, threshold, f"{' and '.join(absent)} not in the table")
    if not (lt.cells or other.cells):
        both = f"{lt.name} and {other.name} diverged at every learning rate: nothing to compare"
        return _bare(number, UNDECIDED, threshold, both)
    if not other.cells and relation == NOT_BELOW:
        return _bare(number, UNDECIDED, threshold, "pretraining diverged everywhere: nothing to match")
    if gone := [side for side in (lt, other) if not side.cells]:
        holds, every = NO if lt in gone else YES, f"{gone[0].name} diverged at every learning rate"
        rates = [c.lr for c in lt.cells]
        return _bare(number, holds, threshold, every, (lt, other), gone[0].missing, rates)
    pairs = pairs_of(lt.cells, other.cells)
    if number == 4 and not pairs:
        return _bare(4, NOT_RUN, threshold, f"{lt.name} and pretraining share no learning rate")
    validated = bool(lt.validation and other.validation)
    ask: Callable[..., Comparison] = best_pair if number == 4 else best_against_best
    ask = partial(ask, margin=threshold, strict=relation == ABOVE, level=level, bounds=bounds)
    among: list[Any] = [pairs] if number == 4 else [lt.cells, other.cells]
    if validated:
        at = ask(*([_nearest(pairs, lt, other)] if number == 4 else [[lt.best], [other.best]]))
        found = _chosen(at, ask(*among, said=at.holds), level)
    else:
        found = ask(*among)
    where = _where(number, found, (*lt.cells, *other.cells)) + " on validation images" * validated
    if number != 4:
        means = found.best.mean, found.against.mean
        open_, torn = overturning(lt, relation, other, threshold, found.holds, means)
    elif found.holds:
        open_, torn = (), []
    else:
        open_, torn = lt.missing + other.missing, _torn_pairs(lt, other, threshold)
    return _judged(number, found, threshold, open_, level, where, torn)


def _where(number: int, found: Comparison, cells: Sequence[Cell]) -> str:
    """The other side's learning rate, in words; and its seeds, if ④ compares some of them."""
    if number != 4:
        return f"at its best, {found.against.lr:g}"
    places, n = (found.best.place, found.against.place), found.best.seeds
    fewer = max(cell.seeds for cell in cells if cell.place in places) > n
    return "at the same learning rate" + f" over the {n} seeds that both have" * fewer


def _nearest(pairs: Sequence[tuple[Cell, Cell]], lt: Side, dense: Side) -> list[tuple[Cell, Cell]]:
    """The pair that is best on validation images, alone."""
    sides = [zip(side.cells, side.validation, strict=True) for side in (lt, dense)]
    of_lt, of_dense = ({cell.lr: held_out for cell, held_out in side} for side in sides)
    return [max(pairs, key=lambda pair: of_lt[pair[0].lr] - of_dense[pair[1].lr])]


def _torn_pairs(lt: Side, dense: Side, threshold: float) -> list[Cell]:
    """The torn cells with which ④ would hold, by the seeds that converged."""
    pairs = pairs_of((*lt.cells, *lt.torn), (*dense.cells, *dense.torn))
    near = [pair for pair in pairs if beyond(pair[0].mean - pair[1].mean, threshold, strict=False)]
    torn = {cell.place: cell for cell in (*lt.torn, *dense.torn)}
    return list(dict.fromkeys(torn[cell.place] for pair in near for cell in pair if cell.place in torn))


def _chosen(at: Comparison, among: Comparison, level: float) -> Comparison:
    """`at`, the comparison at the learning rates that validation chose, called only where `among`, the same
    answer asked of all rates, is called too.

    A seed that is lucky on validation images is lucky on the test images too, so rates that the same seeds
    chose look better than they are (docs/validation.md has the simulation). `among` allows for any choice.
    """
    if at.confidence is None or among.confidence is None:
        return replace(at, confidence=None)
    both, confidence = (at, among), min(at.confidence, among.confidence)
    more = [c.more_seeds for c in both if c.more_seeds is not None]
    return replace(
        at,
        confidence=confidence,
        low=min((c.low for c in both if c.low is not None), default=None),
        high=max((c.high for c in both if c.high is not None), default=None),
        more_seeds=0 if confidence >= level else max(more) if len(more) == 2 else None,
    )


def imply(fourth: Condition, fifth: Condition, lt: Side, dense: Side) -> tuple[Condition, Condition]:
    """⑤ implies ④ where pretraining converged wherever LT did: so does its confidence, and ④'s failing
    implies ⑤'s. By the means it has to be said where validation images chose: the pair that they choose for
    ④ may fail on the test images, though ⑤ holds there."""
    if not {c.lr for c in lt.cells} <= {c.lr for c in dense.cells}:
        return fourth, fifth
    if fourth.holds_ours == NO != fifth.holds_ours:
        return fourth, _follows(fifth, fourth)
    if fifth.holds == YES and (fourth.holds != YES or fifth.holds_ours == YES != fourth.holds_ours):
        return _follows(fourth, fifth), fifth
    return fourth, fifth


def _follows(condition: Condition, sure: Condition) -> Condition:
    how = "Decided" if sure.holds_ours == sure.holds else "By the means it holds"
    return replace(
        condition,
        holds=sure.holds,
        holds_ours=sure.holds_ours,
        confidence=sure.confidence,
        lrs=condition.lrs or sure.lrs,
        more_seeds=sure.more_seeds,
        open=sure.open,
        sentence=f"{condition.sentence} {how}, since it follows from {sure.symbol}.",
    )


def _bare(
    number: int,
    holds: str,
    threshold: float,
    why: str,
    sides: Sequence[Side] = (),
    open_: Sequence[tuple[str, float]] = (),
    lrs: Sequence[float] = (),
) -> Condition:
    """A condition without a difference. By the seeds it is open where a side has one seed, or some that
    converged."""
    word = {YES: "holds", NO: "fails"}.get(holds, holds)
    torn = [cell for side in sides if not side.cells for cell in side.torn]
    where = (*open_, *(cell.place for cell in torn))
    one = holds in (YES, NO) and min(side.seeds for side in sides) < 2
    ours = UNDECIDED if holds in (YES, NO) and (where or one) else holds
    alone = " One seed cannot support it." * one
    sentence = f"{SYMBOLS[number - 1]} {word}: {why}.{alone}{_unfinished(open_)}{_survived(torn)}"
    confidence = 1.0 if ours in (YES, NO) else None
    rates = tuple(sorted(set(lrs)))
    return Condition(number, holds, ours, threshold, sentence, lrs=rates, confidence=confidence, open=where)


def _judged(
    number: int,
    found: Comparison,
    threshold: float,
    open_: Sequence[tuple[str, float]],
    level: float,
    where: str,
    torn: Sequence[Cell] = (),
) -> Condition:
    """where: the other side's learning rate, in words. torn: cells that would overturn the answer if seeds
    that diverged were left out."""
    holds = YES if found.holds else NO
    a, b = found.best, found.against
    needed = WORDS[RELATIONS[number]].format(always_signed(threshold))
    sentence = (
        f"{SYMBOLS[number - 1]} {a.setting} at learning rate {a.lr:g} ({a.mean:.2f}) minus {b.setting} "
        f"{where} ({b.mean:.2f}): {always_signed(found.difference)}, needed {needed}: "
        f"{'holds' if found.holds else 'fails'}{_doubt(found, level)}{_unfinished(open_)}{_survived(torn)}"
    )
    judged = Condition(
        number=number,
        holds=holds,
        holds_ours=UNDECIDED,
        threshold=threshold,
        sentence=sentence,
        confidence=found.confidence,
        difference=round(found.difference, DECIMALS),
        low=found.low,
        high=found.high,
        lrs=tuple(sorted({c.lr for c in found.winners})),
        best=a.place,
        against=b.place,
        more_seeds=found.more_seeds,
        open=(*open_, *(cell.place for cell in torn)),
    )
    return replace(judged, holds_ours=holds) if judged.supports(level) else judged


def _doubt(found: Comparison, level: float) -> str:
    if found.confidence is None:
        return (
            " by the means; one seed shows no spread, so it stays undecided: train three, as the paper does."
        )
    if found.confidence >= level:
        return f", confidence {as_chance(found.confidence)}."
    if found.more_seeds is None:
        more = "it sits on the threshold, more seeds would not settle it"
    else:
        guess = float(f"{found.more_seeds:.2g}")  # it is no more exact than that
        more = f"about {guess:,.0f} more seed{'s' * (guess != 1)} would be likely to settle it"
    return f" by the means, confidence {as_chance(found.confidence, 2)}: undecided, {more}."


def _unfinished(open_: Sequence[tuple[str, float]]) -> str:
    if not open_:
        return ""
    return f" Undecided until {', '.join(f'{s} has run at {lr:g}' for s, lr in open_)}."


def _survived(torn: Sequence[Cell]) -> str:
    if not torn:
        return ""
    reached = " and ".join(f"{c.setting} at {c.lr:g} ({c.mean:.2f})" for c in torn)
    return f" Undecided, since some seeds of {reached} diverged and the mean of the others would overturn it."
