"""Controls compared: what LT gains over each of them, seed by seed, and ③ against shuffled masks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lthpaper.paper import thresholds
from lthpaper.runs.controls import DYNAMIC, MASKS, OF_A_DENSE_RUN, OF_A_SUBNETWORK
from lthpaper.verdicts import cells
from lthpaper.verdicts.conditions import Condition, condition
from lthpaper.verdicts.evidence import LEVEL, always_signed, span
from lthpaper.verdicts.paired import FOUND, paired

ASKED = (  # (ours, against, the question), as of `under`
    ("LT-", "RR-", "start: a ticket against a random start"),
    ("LT@RRnorms-", "RR-", "start: both at RR's norms"),
    ("LT-", "RR@LTnorms-", "start: both at LT's norms"),
    ("LT-", "LT@RRnorms-", "norms of LT alone"),
    ("LT-", "LT@RRsigns-", "signs of LT alone"),
    ("RR@LTsigns-", "RR-", "signs of LT given to RR"),
    ("LT-", "LT-shuffled-", "start and places: against shuffled places"),
    ("RR-", "LT-shuffled-", "places alone, from random starts"),
    ("RR-permuted-", "RR-", "places carried to θ0′ by permutation"),
    ("LT-", "RR-permuted-", "gap that carrying the mask leaves"),
    ("LT-", "random-erk", "against ERK, no pretraining"),
    ("LT-", "random-uniform", "against uniform density, no pretraining"),
    ("LT-", "random-global", "against a random mask, no pretraining"),
    ("LT-", "SDT", "against a small dense network"),
)
NAMED = {name for ours, against, _ in ASKED for name in (ours, against)}
COMPARED = (  # and LT with every control that no question names
    *ASKED,
    *(("LT-", f"{name}-", f"against {name}") for name in OF_A_SUBNETWORK if f"{name}-" not in NAMED),
    *(("LT-", name, f"against {name}") for name in OF_A_DENSE_RUN if name not in NAMED),
)


def under(setting: str, mask: str) -> str:
    """A setting's whole name: "LT-" and "IMP" make "LT-IMP"; one without "-" at its end has no such mask."""
    return setting + mask if setting.endswith("-") else setting


def differences(table: pd.DataFrame, compared: Sequence[tuple[str, str, str]] = COMPARED) -> pd.DataFrame:
    """One row per mask, comparison and cell, as `paired` finds them. table: store.table.COLUMNS, of any
    networks."""
    table = cells.checked(table)
    there = set(table.loc[cells.trained(table), "setting"])
    found = []
    for mask in MASKS:
        for ours, against, question in compared:
            a, b = under(ours, mask), under(against, mask)
            if {a, b} <= there:
                named = {"mask": mask, "ours": a, "against": b, "question": question}
                found.append(paired(table, a, b, CELL).assign(**named))
    if not found:
        return pd.DataFrame(columns=list(DIFFERENCES))
    return pd.concat(found, ignore_index=True)[list(DIFFERENCES)]


CELL = ("network", "data", "epochs", "sparsity", "lr")
DIFFERENCES = ("mask", "ours", "against", "question", *CELL, *FOUND)


def at_higher_rates(table: pd.DataFrame, factor: float = 2.0) -> pd.DataFrame:
    """LT trained at `factor` times the learning rate of what it is compared with: rows as of `differences`.

    Before a batch-norm the effective rate is lr / ‖w‖², so LT, whose layers start r times as long as RR's,
    has RR's effective rate at r² times its learning rate, in layers of that r. lr: of RR, and of LT at RR's
    norms, which should do as LT at the higher rate does if the effective rate is all that norms change.
    Learning rates whose multiple is not in the table are left out.
    """
    rates = np.array(sorted(table["lr"].unique()))
    moved = []
    for mask in MASKS:
        lt = table[table["setting"] == f"LT-{mask}"]
        for lr in rates:
            there = rates[np.isclose(rates, lr * factor)]
            if len(there):
                found = lt[lt["lr"] == there[0]]
                moved.append(found.assign(setting=f"LT×{factor:g}-{mask}", lr=lr))
    compared = [
        (f"LT×{factor:g}-", "RR-", "start: at a higher rate"),
        (f"LT×{factor:g}-", "LT@RRnorms-", "norms against rates"),
    ]
    if "pretraining_lr" in table:
        moved = [rows.assign(pretraining_lr=rows["lr"]) for rows in moved]
    return differences(pd.concat([table, *moved], ignore_index=True), compared=compared)


def beats(table: pd.DataFrame, control: str, ticket: str = "LT-IMP") -> Condition:
    """Is the ticket clearly better than a control? ③ with the control in the place of RR:

        max_η A_ticket(η) − max_η A_control(η) > γ

    in both readings, as `tickets.verdict` judges ③. table: tidy, of one network, data set, number of epochs
    and sparsity, with one run per learning rate and seed of either setting.
    """
    table = cells.checked(table)
    cells.one_experiment(table)
    gap = thresholds(table["data"].iloc[0]).gap
    return condition(3, cells.side(table, ticket), cells.side(table, control), gap, LEVEL)


JUDGED = (  # (ticket, control) of `verdicts`, as of `under`
    *(("LT-", f"{name}-") for name in OF_A_SUBNETWORK if name != "LT"),
    ("LT@RRnorms-", "RR-"),
    *(("LT-", name) for name in (*OF_A_DENSE_RUN, *DYNAMIC)),
)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """One row per mask and control: does the ticket beat it (`beats`), by the means and by the seeds?"""
    rows = []
    for mask in MASKS:
        for pair in JUDGED:
            ticket, control = (under(name, mask) for name in pair)
            if {ticket, control} <= set(table["setting"]):
                found = beats(table, control, ticket)
                rows.append(
                    {
                        "ticket": ticket,
                        "control": control,
                        "by the means": found.holds,
                        "by the seeds": found.holds_ours,
                        "difference of the bests": found.difference,
                        "low": found.low,
                        "high": found.high,
                        "confidence": found.confidence,
                    }
                )
    return pd.DataFrame(rows)


def seen(table: pd.DataFrame) -> str:
    """What the controls say, one sentence per comparison: by how much, and at which learning rates the
    interval lies clear of 0; before them, how many would by luck."""
    found = differences(table)
    lines = []
    for ours, against, question in COMPARED:
        rows = found[found["question"] == question]
        if len(rows):
            names = (name.rstrip("-") for name in (ours, against))
            said = "; ".join(f"{mask}: {_told(cell)}" for mask, cell in rows.groupby("mask"))
            lines.append(f"{' − '.join(names)}, {question}. {said}.")
    if not lines:
        return "Nothing has run yet."
    count = int(np.isfinite(found["low"].astype(float)).sum())
    by_luck = (
        f"Each of the {count} intervals has {100 * LEVEL:g} % confidence by itself: if no difference were "
        f"real, about {(1 - LEVEL) * count:.0f} would exclude 0."
    )
    luck = "Differences of accuracy, in points, over paired seeds. "
    luck += by_luck if count else "No interval is there yet: it takes two seeds."
    return "\n".join([luck, *lines])


def _told(cell: pd.DataFrame) -> str:
    """ "+0.2 … +8.5, above 0 at 0.001 and 0.01 with 95 % confidence, n = 9 to 10" """
    there = cell[~cell["diverged"].astype(bool)].sort_values("lr")
    if there.empty:
        return "a seed diverged at every learning rate"
    ends = [always_signed(end, 1) for end in (there["difference"].min(), there["difference"].max())]
    said = [" … ".join(dict.fromkeys(ends))]
    for words, clear in (("above", there["low"] > 0), ("below", there["high"] < 0)):
        if clear.any():
            said.append(f"{words} 0 at {', '.join(f'{lr:g}' for lr in there.loc[clear, 'lr'])}")
    said[-1] += f" with {100 * LEVEL:g} % confidence" if len(said) > 1 else ", nowhere clear of 0"
    if len(there) < len(cell):
        said.append("elsewhere a seed diverged")
    return f"{', '.join(said)}, n = {span(there['n'])}"
