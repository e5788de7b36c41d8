"""What a figure shows, in sentences computed from its table: never written by hand, never out of date."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lthpaper.figures import FIGURES, FigureSpec
from lthpaper.measures import contours
from lthpaper.runs.scales import SCALES
from lthpaper.runs.siblings import SIBLING
from lthpaper.verdicts import claims
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.claims.outcome import Outcome
from lthpaper.verdicts.evidence import NOT_RUN
from lthpaper.verdicts.tickets import Verdict

READ_WITH = {"appendix-a": "fig1", "fig3": "appendix-f", "table3": "appendix-f", "guideline": "appendix-f"}
LIST = '<ul style="list-style: none; padding-left: 1em">{}</ul>'
MANY = 12  # verdicts; more are counted first and folded away


@dataclass(frozen=True)
class Finding:
    """head: the question and its state. sentence: the comparison, its effect and interval. details: lines
    that a notebook folds away."""

    head: str
    sentence: str = ""
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join((f"{self.head} {self.sentence}".strip(), *self.details))

    def _repr_html_(self) -> str:
        said = f"<b>{html.escape(self.head)}</b> {html.escape(self.sentence)}"
        if not self.details:
            return said
        lines = LIST.format("".join(f"<li>{html.escape(line)}</li>" for line in self.details))
        return f"<details><summary>{said}</summary>{lines}</details>"


ALONE = Finding(
    "Claims are judged here on this figure's runs alone. The scoreboard judges them on all runs, and a claim "
    "may fare differently there."
)


class Findings(tuple[Finding, ...]):
    """Findings in order. In a notebook a list whose items unfold."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "<ul>" + "".join(f"<li>{finding._repr_html_()}</li>" for finding in self) + "</ul>"


def findings(
    name: str, spec: FigureSpec, scale: Any, table: pd.DataFrame, results: pd.DataFrame, judged: pd.DataFrame
) -> Findings:
    """What a figure's own sentences, the claims that it speaks to and its verdicts say.

    table: what the figure draws. results: its runs as store.table. judged: its tickets.verdicts.
    """
    found = [Finding(sentence) for sentence in (*_there(name, scale, results), *spec.says(table, scale))]
    if name == "claims":
        found += [_of_board(rows) for _, rows in table.groupby("claim", sort=False)]
    else:
        spoken = [_of_claim(outcome) for outcome in outcomes(name, scale, table, results)]
        found += [ALONE, *spoken] if spoken else []
    planned = set(results["setting"])
    judges = name == "own-network" or {"LT-OMP", "RR-OMP"} <= planned
    if judges and trained(results).any():  # elsewhere too little is run for a verdict
        tickets = [v for v in judged["verdict"] if {f"LT-{v.pruning}", f"RR-{v.pruning}"} <= planned]
        found += _verdicts(tickets)  # a control's mask has LT or RR alone, so it is no ticket
    return Findings(found)


def outcomes(name: str, scale: Any, table: pd.DataFrame, results: pd.DataFrame) -> list[Outcome]:
    """The claims that a figure speaks to, judged on what it shows."""
    wanted = READ_WITH.get(name, name)
    seen = {"overlaps": table} if name == "fig6" else {}
    if name in claims.CONTOURS:
        seen = {"contours": contours.numbers(table)}
    if name == "stability":
        seen = {"barriers": table}
    on = claims.Results(scale, results, **seen)
    tests = (test for test in claims.ALL.values() if wanted in test.figures)
    return [outcome for test in tests if (outcome := test.judge(on)).tried_on]


def _there(name: str, scale: Any, results: pd.DataFrame) -> Iterator[str]:
    """How much of the figure has been run, and what says how to run the rest."""
    if results.empty:
        return
    runs = results.drop_duplicates("digest")
    there = runs[trained(runs)]
    siblings = there["setting"].str.startswith(SIBLING)  # each has an order, and so a seed, of its own
    seeds = there.loc[~siblings, "seed"].nunique()
    said = f"{len(there):,} of {len(runs):,} runs are in the store"
    said += f", of {seeds} seed{'s' * (seeds != 1)}." if len(there) else ": nothing to see yet."
    known = name in FIGURES and scale == SCALES.get(scale.name)  # else their names are not enough
    if len(there) < len(runs) and known:
        said += f" `lthpaper plan {name} --scale {scale.name}` says what the others take."
    yield said
    diverged = int(there["accuracy"].isna().sum())
    if diverged:
        yield f"{diverged:,} diverged, or have a mask from a run that did."


def _of_claim(outcome: Outcome) -> Finding:
    test = claims.ALL[outcome.claim.id]
    head = _head(outcome.claim.id, test.words, outcome.status, outcome.by_means)
    ours = f" Ours: {outcome.ours}." if outcome.ours else ""
    parts = zip(outcome.parts, outcome.settled, strict=True)
    details = (f"{settled}: {part.sentence}" for part, settled in parts if part.by_means != NOT_RUN)
    return Finding(head, outcome.sentence + ours, tuple(details))


def _of_board(rows: pd.DataFrame) -> Finding:
    """A claim of the scoreboard, with the sentences of its comparisons. rows: claims_board.joined."""
    row, judged = rows.iloc[0], rows[rows["measured"].notna() & (rows["means"] != NOT_RUN)]
    details = (f"{settled}: {said}" for settled, said in judged[["by the seeds", "sentence"]].to_numpy())
    head = _head(*row[["claim", "words", "status", "by the means"]])
    return Finding(head, str(row["evidence"]), tuple(details))


def _head(number: int | str, words: str, status: str, by_means: str) -> str:
    means = f" (by the means {by_means})" if by_means != status else ""
    return f"Claim {number}, {words}: {status}{means}."


def _verdicts(judged: list[Verdict]) -> list[Finding]:
    """Each verdict with its conditions' evidence; many are counted, and folded away."""
    said = [Finding(f"{v.about}:", v.reason, tuple(c.sentence for c in v.judged)) for v in judged]
    if len(said) <= MANY:
        return said
    kinds = pd.Series([v.kind_ours for v in judged]).value_counts()
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [Finding(f"Of {len(said)} verdicts by the seeds: {counts}.", "", tuple(map(str, said)))]
