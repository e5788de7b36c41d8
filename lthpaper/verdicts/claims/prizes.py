"""Claims 5 and 6: which tickets exist, by the verdicts of §2.2."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lthpaper.paper import CLAIMS
from lthpaper.paper.quotes import QUOTES
from lthpaper.verdicts.characteristics import Characteristics, characteristics
from lthpaper.verdicts.claims.outcome import Outcome
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.conditions import Condition, unfulfilled
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES, signed
from lthpaper.verdicts.relations import Part, where
from lthpaper.verdicts.tickets import Verdict


@dataclass(frozen=True)
class Called:
    """A yes or no by the means, and the confidence that it is right (0: none)."""

    by_means: str
    confidence: float


Prizes = Sequence[tuple[Verdict, Called]]  # verdicts, and whether each is a prize
ORDER = (YES, UNDECIDED, NO)  # of answers, where one prize is enough


def claim_5(results: Results) -> Outcome:
    """No experiment has a clear Jackpot ticket: in each, one of ① to ⑤ fails."""
    found = results.verdicts
    parts = [
        _part(
            f"ticket, {v.pruning}", "no Jackpot", _not(_all_hold(v.conditions)), _said(v), _about(v), v.seeds
        )
        for v in found
    ]
    kinds = [v.kind for v, part in zip(found, parts, strict=True) if part.by_means != NOT_RUN]
    ours = ", ".join(f"{kinds.count(kind)}× {kind}" for kind in dict.fromkeys(kinds))
    if kinds and len(kinds) < len(found):
        ours += f"; {len(found) - len(kinds)} not run"
    paper = "; ".join(
        f"{q.network}, s = {q.sparsity}: "
        f"best {q.setting} − best {q.minus} {q.relation} {signed(q.difference, 1)}"
        for q in QUOTES
        if q.place == "§3.1"
        and (q.network, q.minus) in NO_JACKPOT
        and q.lr is None
        and q.difference is not None
    )
    return Outcome(CLAIMS[4], tuple(parts), ours and f"by the means {ours}", paper)


NO_JACKPOT = (("resnet20", "pretraining"), ("mobilenet-v1", "pretraining"))  # where ⑤ is what is said


def claim_6(results: Results) -> Outcome:
    """On small data: a secondary prize exists, and up to a sparsity that grows with capacity.

    A Jackpot is a prize too. "Grows": from no network to a larger one on the same data does it fall, and from
    one at least it rises. What was not tried is open: of two that reach the sparsest that was tried, neither
    is ahead. Whether it grows rests on several verdicts, which have to be right together.
    """
    prizes: dict[Characteristics, list[tuple[Verdict, Called]]] = {}
    for v in results.verdicts:
        known = characteristics(v.network, v.data)
        if not known.large_data:
            prizes.setdefault(known, []).append((v, _all_hold(v.conditions[:4])))
    pairs = [
        pair if pair[0].parameters < pair[1].parameters else (pair[1], pair[0])
        for pair in itertools.combinations(prizes, 2)
        if pair[0].data == pair[1].data and pair[0].parameters != pair[1].parameters
    ]
    parts = [_exists([p for found in prizes.values() for p in found])] if prizes else []
    growth = [part for pair in pairs if (part := _grows(*pair, prizes)) is not None]
    parts += [part for part, _ in growth] + ([_rises(growth)] if growth else [])
    note = "" if pairs or not parts else "One network only: whether it grows with capacity is not tried."
    ours = "; ".join(
        f"{known.network} {f'up to {reached:.3f}' if reached else 'none'}"
        for known, found in sorted(prizes.items(), key=lambda item: item[0].parameters)
        for reached in [_largest(found)]
        if any(called.by_means != NOT_RUN for _, called in found)
    )
    paper = "; ".join(
        f"{q.network} {'≥' if q.relation == '>' else 'up to'} {q.sparsity}"
        for q in QUOTES
        if q.place == "§3.1" and "secondary prize is" in q.statement
    )
    return Outcome(CLAIMS[5], tuple(parts), ours and f"by the means {ours}", paper, note)


def _all_hold(conditions: Iterable[Condition]) -> Called:
    """A conjunction: as sure as its least sure part if it holds; if not, as its surest failure, of which any
    could be one by luck (conditions.unfulfilled)."""
    conditions = list(conditions)
    if any(c.holds == NO for c in conditions):
        return Called(NO, unfulfilled(conditions))
    if all(c.holds == YES for c in conditions):
        return Called(YES, min(map(_sure, conditions)))
    return Called(NOT_RUN if any(c.holds == NOT_RUN for c in conditions) else UNDECIDED, 0.0)


def _sure(c: Condition) -> float:
    """0 where missing runs could overturn it, or seeds show no spread."""
    return 0.0 if c.open else c.confidence or 0.0


def _not(called: Called) -> Called:
    return Called({YES: NO, NO: YES}.get(called.by_means, called.by_means), called.confidence)


def _at_least_one(confidence: float, tried: int) -> float:
    """That the best of so many tries is right and no luck (Bonferroni)."""
    return max(0.0, 1 - tried * (1 - confidence))


def _exists(prizes: Prizes) -> Part:
    """Somewhere."""
    judged = [(v, called) for v, called in prizes if called.by_means != NOT_RUN]
    if not judged:
        v, called = prizes[0]
        return _part("ticket", "a secondary prize somewhere", called, _said(v), _about(v), 0)
    wanted = min((called.by_means for _, called in judged), key=ORDER.index)
    found = [(v, called) for v, called in judged if called.by_means == wanted]
    best, called = (min if wanted == NO else max)(found, key=lambda pair: pair[1].confidence)
    confidence = called.confidence
    if wanted == YES:
        confidence = _at_least_one(confidence, len(judged))
    if wanted == NO and len(judged) < len(prizes):
        wanted = UNDECIDED  # a missing run may have one
    called = Called(wanted, confidence)
    seeds = min(v.seeds for v, _ in judged)
    return _part("ticket", "a secondary prize somewhere", called, _said(best), _about(best), seeds)


def _grows(
    small: Characteristics, large: Characteristics, prizes: Mapping[Characteristics, Prizes]
) -> tuple[Part, Called] | None:
    """(The larger network's largest sparsity with a prize is not below the smaller's; whether it is above.)

    None where neither has one by the means.
    """
    a, b = (_largest(prizes[known]) for known in (small, large))
    judged = [called.by_means for known in (small, large) for _, called in prizes[known]]
    if set(judged) <= {NO}:
        return None
    below, above = _reaches(prizes[large], prizes[small]), _reaches(prizes[large], prizes[small], beyond=True)
    if YES not in (above.by_means, below.by_means):
        below = _not(_reaches(prizes[small], prizes[large], beyond=True))
    elif above.by_means == YES:  # then it is not below either
        below = max(above, below, key=lambda called: called.confidence)
    if above.by_means != YES:
        above = _not(_reaches(prizes[small], prizes[large]))
    about = {"network": large.network, "data": large.data, "epochs": prizes[large][0][0].epochs}
    sentence = (
        f"By the means {small.network} ({small.parameters:,} parameters) has prizes up to s = {a:.3f} on "
        f"{large.data}, {large.network} ({large.parameters:,}) up to {b:.3f} (0: none)."
    )
    if below.by_means == UNDECIDED:
        ends = " and ".join(f"{k.network} up to {_tried(prizes[k]):.3f}" for k in (small, large))
        sentence += f" Tried were {ends}, so which is ahead is undecided."
    both = [*prizes[small], *prizes[large]]
    seeds = min((v.seeds for v, called in both if called.by_means != NOT_RUN), default=0)
    needed = f"not below {small.network}'s"
    return _part("largest sparsity", needed, below, sentence, about, seeds, b), above


def _reaches(first: Prizes, second: Prizes, beyond: bool = False) -> Called:
    """Has the first a prize at a sparsity above which the second has none (beyond: at which, too)? Yes or
    undecided.

    As sure as all the verdicts that say so together (Bonferroni), the surest of the sparsities corrected for
    their number. A sparsity that the second was not tried at is open.
    """
    sure = []
    for s, prize in ((v.sparsity, called) for v, called in first if called.by_means == YES):
        rivals = [called for v, called in second if v.sparsity > s or (beyond and v.sparsity == s)]
        if rivals and all(called.by_means == NO for called in rivals):
            sure.append(1 - sum(1 - called.confidence for called in (prize, *rivals)))
    if not sure:
        return Called(UNDECIDED, 0.0)
    return Called(YES, _at_least_one(max(sure), len(sure)))


def _tried(prizes: Prizes) -> float:
    """The sparsest that was judged; 0 if nothing was."""
    return max((v.sparsity for v, called in prizes if called.by_means != NOT_RUN), default=0.0)


def _rises(growth: Sequence[tuple[Part, Called]]) -> Part:
    """Some larger network reaches further."""
    above = [called for _, called in growth]
    by_means = min((called.by_means for called in above), key=ORDER.index)
    sure = [called.confidence for called in above if called.by_means == by_means]
    called = Called(by_means, _at_least_one(max(sure), len(above)) if by_means == YES else min(sure))
    words = {YES: "rises", NO: "does not rise", UNDECIDED: "may rise beyond what was tried"}
    part = growth[0][0]
    sentence = (
        f"By the means the largest sparsity with a prize {words[by_means]} from a network to a larger one."
    )
    seeds = min(part.seeds for part, _ in growth)
    needed = "above a smaller network's, once at least"
    return _part("largest sparsity", needed, called, sentence, part.about, seeds)


def _largest(prizes: Prizes) -> float:
    """Largest sparsity that has a prize by the means; 0 if there is none."""
    return max((v.sparsity for v, called in prizes if called.by_means == YES), default=0.0)


def _about(v: Verdict) -> dict[str, object]:
    return {"network": v.network, "data": v.data, "epochs": v.epochs, "sparsity": v.sparsity}


def _said(v: Verdict) -> str:
    return f"{where(_about(v))}{v.pruning}: {v.reason}"


def _part(
    label: str,
    needed: str,
    called: Called,
    sentence: str,
    about: dict[str, object],
    seeds: int,
    value: float | None = None,
) -> Part:
    return Part(label, needed, called.by_means, sentence, about, value, seeds, confidence=called.confidence)
