"""The report's first page: the state of each of the paper's claims and the comparison that decides it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lthpaper.figures.claims_picture import bounds
from lthpaper.figures.publish import enumerated
from lthpaper.runs.scales import Scale
from lthpaper.store.store import Store
from lthpaper.verdicts import claims
from lthpaper.verdicts.claims.outcome import STATUSES, Outcome
from lthpaper.verdicts.evidence import signed
from lthpaper.verdicts.relations import Part

SHARES, PERCENT = 10, 14  # claims that are not about points of accuracy


@dataclass(frozen=True)
class Line:
    """A claim in the scoreboard, by the comparison that decides it. means: the state by the means alone,
    where it is another. figures: (name, words) of those on the page that it speaks of."""

    number: int | str
    words: str
    state: str
    means: str
    measured: str
    effect: str
    interval: str
    needed: str
    paper: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Front:
    """about: what was reproduced, on what. runs: how much of it is there."""

    about: str
    runs: str
    counts: str
    claims: tuple[Line, ...]


def front(
    scale: Scale,
    store: Store,
    data_root: str | Path | None,
    shown: Sequence[tuple[str, str]],
    there: int,
    asked: int,
) -> Front:
    """The paper's claims, judged on what the store holds; nothing is trained and no surface computed.

    shown: (name, words) of the figures on the page. there, asked: how many of their runs are in the store.
    """
    outcomes = claims.judge(claims.gather(scale, store, data_root))
    experiments = enumerated(list(dict.fromkeys(scale.experiments)))
    return Front(
        about="Ma et al., “Sanity Checks for Lottery Tickets: Does Your Winning Ticket Really Win the "
        f"Jackpot?” (NeurIPS 2021), reproduced at {scale.name} scale: {experiments}, {scale.epochs} epochs "
        f"({scale.insufficient_epochs} in the insufficient recipe), "
        f"up to {scale.seeds} seed{'s' * (scale.seeds != 1)}.",
        runs=f"{there:,} of the {asked:,} runs that these figures show are in the store.",
        counts=f"Of {len(outcomes)} claims, {_counts(outcomes)}.",
        claims=tuple(_line(outcome, shown) for outcome in outcomes),
    )


def _counts(outcomes: Sequence[Outcome]) -> str:
    """ "1 is supported, 4 are contradicted, …"."""
    states = [outcome.status for outcome in outcomes]
    said = [(n, state) for state in STATUSES if (n := states.count(state))]
    return ", ".join(f"{n} {'is' if n == 1 else 'are'} {state}" for n, state in said)


def _line(outcome: Outcome, shown: Sequence[tuple[str, str]]) -> Line:
    test, telling = claims.TESTS[outcome.claim.id], outcome.telling
    effect, interval = _effect(outcome.claim.id, telling) if telling else ("", "")
    return Line(
        number=outcome.claim.id,
        words=test.words,
        state=outcome.status,
        means=outcome.by_means if outcome.by_means != outcome.status else "",
        measured=_measured(telling) if telling else "",
        effect=effect or outcome.ours,
        interval=interval,
        needed=telling.needed if telling else "",
        paper=outcome.paper,
        figures=tuple((name, words) for name, words in shown if name in test.figures),
    )


def _measured(part: Part) -> str:
    """What was compared, and where."""
    about = part.about
    where = [str(about["network"])] if about.get("network") else []
    where += [f"s = {about['sparsity']:.3f}"] if about.get("sparsity") else []
    where += [f"lr {about['lr']:g}"] if about.get("lr") else []
    return f"{part.label} ({', '.join(where)})" if where else part.label


def _effect(claim: int | str, part: Part) -> tuple[str, str]:
    """A value and its interval, in the unit of the claim; both "" for what no number is held against."""
    if part.value is None or not math.isfinite(part.value) or bounds(part.needed) is None:
        return "", ""
    units: dict[int | str, str] = {SHARES: "", PERCENT: " %"}
    unit = units.get(claim, " points")

    def write(x: float) -> str:
        return f"{x:.2f}" if claim == SHARES else signed(x, 1 if claim == PERCENT else 2)

    value = f"{write(part.value)}{unit}"
    if part.low is None or part.high is None:
        return value, ""
    return value, f"[{write(part.low)}, {write(part.high)}]"
