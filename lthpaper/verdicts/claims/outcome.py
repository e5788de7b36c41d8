"""A claim's outcome: comparisons that hold, fail or stay undecided, and the state that follows from them.

A claim is read as the conjunction of its parts. It is *supported* if every part holds, *contradicted* if
one fails, *undecided* otherwise, and *not run* if no part could be judged. As in `verdicts.tickets` there
are two readings. By the means a part holds or fails as the means over seeds say. In ours it does so only
with confidence: a part that holds needs LEVEL; one that fails needs 1 − (1 − LEVEL)/m where m parts
were judged (Bonferroni), since one failure among many would contradict the claim by luck. So either
verdict is wrong with probability at most 1 − LEVEL.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from lthpaper.paper import Claim
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES, signed, span
from lthpaper.verdicts.relations import Part

SUPPORTED, CONTRADICTED = "supported", "contradicted"
STATUSES = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_RUN)
ABOUT = ("network", "data", "epochs", "sparsity", "lr")  # where a part was judged, as far as it applies


@dataclass(frozen=True)
class Outcome:
    """What results say about a claim. ours, paper: the numbers in short. note: what else is to be known."""

    claim: Claim
    parts: tuple[Part, ...] = ()
    ours: str = ""
    paper: str = ""
    note: str = ""

    @property
    def settled(self) -> list[str]:
        """Of each part, in our reading."""
        judged = sum(part.by_means != NOT_RUN for part in self.parts)
        return [part.settled(max(judged, 1)) for part in self.parts]

    @property
    def status(self) -> str:
        return _together(self.settled)

    @property
    def by_means(self) -> str:
        return _together([part.by_means for part in self.parts])

    @property
    def tried_on(self) -> str:
        """The networks and data sets of the parts that were judged."""
        judged = [part.about for part in self.parts if part.by_means != NOT_RUN]
        by_data: dict[str, list[str]] = {}
        for about in judged:
            networks = by_data.setdefault(about.get("data", ""), [])
            networks += [about["network"]] if about.get("network") not in (None, *networks) else []
        return "; ".join(f"{', '.join(names)} on {data}" for data, names in by_data.items())

    @property
    def n(self) -> str:
        """Seeds behind the parts that were judged: "10", or "8 to 10"; "" without any."""
        seeds = [part.seeds for part in self.parts if part.by_means != NOT_RUN and part.seeds]
        return span(seeds) if seeds else ""

    @property
    def sentence(self) -> str:
        """The evidence in words: how many parts hold, and the one that says most."""
        settled = self.settled
        if not self.tried_on:
            return f"Not run. {self.note}".strip()
        counts = [f"{n} {words[n > 1]}" for kind, words in COUNTED if (n := settled.count(kind))]
        telling = self.telling
        return " ".join(
            s
            for s in (
                f"{self.tried_on}: of {len(settled)} comparison{'s' * (len(settled) != 1)} "
                f"{', '.join(counts)}.",
                telling.sentence if telling else "",
                self.note,
            )
            if s
        )

    @property
    def telling(self) -> Part | None:
        """The part that decided, or the least certain one."""
        order = {SUPPORTED: YES, CONTRADICTED: NO}
        wanted = order.get(self.status, UNDECIDED)
        found = [part for part, s in zip(self.parts, self.settled, strict=True) if s == wanted]
        return min(found, key=lambda part: part.confidence or 0, default=None)

    @property
    def evidence(self) -> pd.DataFrame:
        """One row per part."""
        rows = [
            {
                "claim": self.claim.id,
                "measured": part.label,
                **{name: part.about.get(name) for name in ABOUT},
                "ours": part.value,
                "low": part.low,
                "high": part.high,
                "needed": part.needed,
                "by the means": part.by_means,
                "confidence": part.confidence,
                "by the seeds": settled,
                "seeds": part.seeds,
                "sentence": part.sentence,
            }
            for part, settled in zip(self.parts, self.settled, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(EVIDENCE))


EVIDENCE = (
    *("claim", "measured", *ABOUT, "ours", "low", "high", "needed"),
    *("by the means", "confidence", "by the seeds", "seeds", "sentence"),
)
COUNTED = (  # of one, of several
    (YES, ("holds", "hold")),
    (NO, ("fails", "fail")),
    (UNDECIDED, ("is undecided", "are undecided")),
    (NOT_RUN, ("is not run", "are not run")),
)


def _together(statuses: Sequence[str]) -> str:
    if all(status == NOT_RUN for status in statuses):
        return NOT_RUN
    if NO in statuses:
        return CONTRADICTED
    return SUPPORTED if all(status == YES for status in statuses) else UNDECIDED


def ranges(parts: Sequence[Part], write: Callable[[float], str] | None = None) -> str:
    """The measured values by label: "LT-IMP − RR-IMP +1.2 … +4.5". write: a value as text."""
    write = write or (lambda value: signed(value, 1))
    found: dict[str, list[float]] = {}
    for part in parts:
        if part.value is not None and math.isfinite(part.value):
            found.setdefault(part.label, []).append(part.value)
    spans = {label: (write(min(values)), write(max(values))) for label, values in found.items()}
    return "; ".join(
        f"{label} {low if low == high else f'{low} … {high}'}" for label, (low, high) in spans.items()
    )
