"""Comparisons that claims consist of: the best of some cells against the best of others, over the seeds."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lthpaper.verdicts.cells import SAME_DENSITY, Side
from lthpaper.verdicts.evidence import LEVEL, NO, NOT_RUN, UNDECIDED, YES, Evidence, as_chance, least, signed
from lthpaper.verdicts.uncertainty import DECIMALS, Cell, best_against_best, beyond

ABOVE, NOT_BELOW, BELOW, NOT_ABOVE, LIKE = ">", "≥", "<", "≤", "≈"
WORDS = {
    ABOVE: "more than {}",
    NOT_BELOW: "at least {}",
    BELOW: "less than {}",
    NOT_ABOVE: "at most {}",
    LIKE: "at most {} either way",
}
RISING = (ABOVE, NOT_BELOW)  # a better `ours` helps these


@dataclass(frozen=True)
class Part(Evidence):
    """One comparison, and the evidence for `by_means`. label: what was measured, "LT-IMP − RR-IMP". needed:
    what it was compared with, in words. by_means: "yes", "no", "undecided", "not run".
    """

    label: str
    needed: str
    by_means: str
    sentence: str
    about: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    seeds: int = 0

    def settled(self, parts: int = 1) -> str:
        """`by_means` where the seeds support it, else "undecided"; parts: how many the claim has."""
        if self.by_means not in (YES, NO):
            return self.by_means
        enough = LEVEL if self.by_means == YES else 1 - (1 - LEVEL) / parts
        return self.by_means if self.supports(enough) else UNDECIDED


def rows(table: pd.DataFrame, sparsity: float | None = None, **where: Any) -> pd.DataFrame:
    """The rows of a tidy table with these values; pretraining's stand beside any sparsity."""
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column].isin(value) if isinstance(value, tuple | list) else table[column] == value
    if sparsity is not None:
        near = ((1 - table["sparsity"]) / (1 - sparsity) - 1).abs() < SAME_DENSITY
        keep &= near | (table["setting"] == "pretraining")
    return table[keep]


def relate(
    ours: Side, relation: str, theirs: Side, margin: float, about: dict[str, Any], label: str = ""
) -> Part:
    """Is (best of `ours` − best of `theirs`) > ≥ < ≤ margin, or within ± margin (≈)? Points."""
    label = label or f"{ours.name} − {theirs.name}"
    needed = WORDS[relation].format(f"{margin:g}" if relation == LIKE else signed(margin))
    absent = [s.name for s in (ours, theirs) if not s.ran]
    if absent:
        sentence = f"{label}: {' and '.join(dict.fromkeys(absent))} not run."
        return Part(label, needed, NOT_RUN, sentence, about)
    if not (ours.cells and theirs.cells):
        return _diverged(ours, relation, theirs, label, needed, about)
    lowest = -margin if relation == LIKE else margin
    found = best_against_best(ours.cells, theirs.cells, lowest, relation in (ABOVE, NOT_ABOVE))
    holds, confidence = _holds(found.difference, relation, margin), found.confidence
    if relation == LIKE:  # two one-sided questions; both must be answered yes, so neither needs a correction
        both = (found, best_against_best(theirs.cells, ours.cells, lowest, False, bounds=False))
        confidence = least([c.confidence for c in both if c.holds == holds])
    value = round(found.difference, DECIMALS)
    a, b = found.best, found.against
    missing, torn = overturning(ours, relation, theirs, margin, holds, (a.mean, b.mean))
    open_ = missing + tuple(cell.place for cell in torn)
    doubt = "one seed, no spread" if confidence is None else f"confidence {as_chance(confidence)}"
    unfinished = f", {len(open_)} missing or diverged cells could overturn it" if open_ else ""
    return Part(
        label=label,
        needed=needed,
        by_means=YES if holds else NO,
        sentence=f"{where(about)}{a.setting} at {a.lr:g} ({a.mean:.2f}) minus {b.setting} at {b.lr:g} "
        f"({b.mean:.2f}): {signed(value)}, needed {needed}: {'holds' if holds else 'fails'} by the means "
        f"({doubt}{unfinished}).",
        about=about,
        value=value,
        low=found.low,
        high=found.high,
        seeds=min(a.seeds, b.seeds),
        confidence=confidence,
        open=open_,
    )


def relate_chosen(options: Side, theirs: Side, about: dict[str, Any], label: str = "") -> Part:
    """Is the best of some options above the one cell of `theirs`, by any amount?

    The best of three equal options is observed above a fourth three times in four. So by the means the
    option is chosen by all seeds but one and compared on that one, for each seed in turn: the mean of these
    differences favours nobody. With one seed no option can be chosen, and their mean stands for them.
    By the seeds it is `relate`, which allows for the choice already.
    """
    part = relate(options, ABOVE, theirs, 0.0, about, label)
    if not (options.cells and theirs.cells):
        return part
    value = round(chosen(options, theirs), DECIMALS)
    by_means = YES if value > 0 else NO
    confidence = part.confidence
    if by_means != part.by_means:
        asked = (options.cells, theirs.cells, 0.0, True)
        confidence = best_against_best(*asked, bounds=False, said=by_means == YES).confidence
    of_the_bests = part.sentence.replace(" by the means (", " for the bests (")
    sentence = (
        f"{of_the_bests} The option that the other seeds choose, seed by seed: {signed(value)}, so "
        f"{'it holds' if value > 0 else 'it fails'} by the means."
    )
    open_ = part.open
    if by_means != part.by_means:
        torn = tuple(cell.place for of in (options, theirs) for cell in of.torn)
        open_ = _open(options, ABOVE, theirs, by_means == YES) + torn
    return replace(part, value=value, by_means=by_means, confidence=confidence, sentence=sentence, open=open_)


def chosen(options: Side, theirs: Side) -> float:
    """Points that the option gains on a seed which did not choose it; the mean over all cells' seeds."""
    other = max(theirs.cells, key=lambda c: c.mean)
    cells = (*options.cells, other)
    seeds = sorted(set.intersection(*(set(c.numbers) for c in cells)))
    values = np.array([[c.by_seed[n] for n in seeds] for c in cells])
    if len(seeds) < 2:
        return float(np.mean([c.mean for c in options.cells]) - other.mean)
    mine, others = values[:-1], values[-1]  # (options, seeds), (seeds,)
    without = (mine.sum(1, keepdims=True) - mine) / (len(seeds) - 1)
    best = without.argmax(0)
    return float((mine[best, np.arange(len(seeds))] - others).mean())


def _holds(difference: float, relation: str, margin: float) -> bool:
    """By the means, of the difference of the bests."""
    if relation == LIKE:
        return all(beyond(d, -margin, strict=False) for d in (difference, -difference))
    return beyond(difference, margin, relation in (ABOVE, NOT_ABOVE)) == (relation in RISING)


def overturning(
    ours: Side, relation: str, theirs: Side, margin: float, holds: bool, means: tuple[float, float]
) -> tuple[tuple[tuple[str, float], ...], list[Cell]]:
    """What could overturn the answer: missing runs, and cells of which some seeds diverged and the others
    would. means: of the two cells compared."""
    a, b = means
    torn = [(c, max(a, c.mean) - b) for c in ours.torn] + [(c, a - max(b, c.mean)) for c in theirs.torn]
    found = [c for c, difference in torn if _holds(difference, relation, margin) != holds]
    return _open(ours, relation, theirs, holds), found


def _open(ours: Side, relation: str, theirs: Side, holds: bool) -> tuple[tuple[str, float], ...]:
    """Missing runs that could raise the side whose rise would overturn the answer."""
    if relation == LIKE:
        return ours.missing + theirs.missing
    return theirs.missing if holds == (relation in RISING) else ours.missing


def _diverged(
    ours: Side, relation: str, theirs: Side, label: str, needed: str, about: dict[str, Any]
) -> Part:
    gone = theirs if ours.cells else ours
    if not (ours.cells or theirs.cells):
        return Part(label, needed, UNDECIDED, f"{label}: both diverged at every learning rate.", about)
    if all(setting == "pretraining" for setting, _ in gone.diverged):  # as in ④ and ⑤ (conditions.py)
        why = "pretraining diverged at every learning rate: nothing to compare with"
        return Part(label, needed, UNDECIDED, f"{label}: {why}.", about)
    # A subnetwork that never converges is as far below as can be.
    holds = relation in (RISING if ours.cells else (BELOW, NOT_ABOVE))
    return Part(
        label,
        needed,
        YES if holds else NO,
        f"{label}: {gone.name} diverged at every learning rate.",
        about,
        value=math.inf if ours.cells else -math.inf,
        confidence=None if 1 in (ours.seeds, theirs.seeds) else 1.0,
        open=gone.missing + tuple(cell.place for cell in gone.torn),
    )


def where(about: dict[str, Any]) -> str:
    """The start of a sentence about a part: network, data, epochs, sparsity."""
    words = [f"{about['network']} on {about['data']}"] if about.get("network") else []
    words += [f"{about['epochs']} epochs"] if about.get("epochs") else []
    words += [f"s = {about['sparsity']:.3f}"] if about.get("sparsity") is not None else []
    return f"{', '.join(words)}: " if words else ""
