"""Controls: runs that differ from a subnetwork in one property, and so say what a ticket is made of.

A setting's name is START-MASK. Beside the paper's LT (θ0) and RR (θ0′), the starts are

    LT@RRnorms   θ0 at the L2 norms of θ0′ ⊙ m, layer by layer        what of LT is more than its norms?
    RR@LTnorms   θ0′ at the norms of θ0 ⊙ m                           what of RR's deficit are its norms?
    LT@RRsigns   |θ0| with the signs of θ0′                           what is left of LT without its signs?
    RR@LTsigns   |θ0′| with the signs of θ0                           what do θ0's signs alone do (Zhou 2019)?

and beside IMP and OMP, the masks are

    shuffled-IMP, shuffled-OMP   as many weights of every layer, at random places (Su 2020, Frankle 2021)
    random-global, -uniform, -erk   random masks that need no pretraining (Liu 2022); always from a draw of θ0

A random mask knows nothing of any weights, so LT and RR mean the same under it, and only one is trained.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from lthpaper.errors import require
from lthpaper.paper import PRUNED_PER_ROUND, Thresholds
from lthpaper.paper import thresholds as of_paper
from lthpaper.runs.inits.norms import NormMatched
from lthpaper.runs.inits.signs import Signs
from lthpaper.runs.pruning.random import LAYERS, Random
from lthpaper.runs.pruning.shuffled import Shuffled
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run, Task, setting
from lthpaper.runs.settings import (
    Trial,
    imp_sparsity,
    lt_imp,
    lt_omp,
    pretraining,
    random_reinit,
    small_dense,
)
from lthpaper.verdicts import cells
from lthpaper.verdicts.conditions import Condition, condition

MASKS = ("IMP", "OMP")


def at_norms_of(run: Run, other: Run) -> Run:
    """The run from its own start, at the norms that the other's start has under the mask, layer by layer."""
    return run.with_(init=NormMatched(of=run.init, norms=other.init))


def with_signs_of(run: Run, other: Run) -> Run:
    """The run from the magnitudes of its own start with the signs of the other's."""
    return run.with_(init=Signs(of=run.init, signs=other.init))


def shuffled(run: Run, draw: int = 0) -> Run:
    """The run with its mask shuffled within every layer; draw: another shuffle of the same seed."""
    return run.with_(mask=Shuffled(of=run.mask, seed=run.seed, draw=draw))


def random_mask(dense: Run, sparsity: float, layers: str = "erk", draw: int = 0) -> Run:
    """The dense run's start under a random mask that no training was needed for."""
    return dense.with_(mask=Random(sparsity, layers, dense.seed, draw))


OF_A_SUBNETWORK: dict[str, Callable[[Run], Run]] = {  # name without its mask -> control of an LT run
    "LT": lambda lt: lt,
    "RR": random_reinit,
    "LT@RRnorms": lambda lt: at_norms_of(lt, random_reinit(lt)),
    "RR@LTnorms": lambda lt: at_norms_of(random_reinit(lt), lt),
    "LT@RRsigns": lambda lt: with_signs_of(lt, random_reinit(lt)),
    "RR@LTsigns": lambda lt: with_signs_of(random_reinit(lt), lt),
    "LT-shuffled": shuffled,
}
OF_A_DENSE_RUN: dict[str, Callable[[Run, float], Run]] = {
    "SDT": lambda dense, s: small_dense(lt_omp(dense, s)),
    **{f"random-{way}": lambda dense, s, way=way: random_mask(dense, s, way) for way in LAYERS},
}
SETTINGS = (
    "pretraining",
    *(f"{name}-{mask}" for mask in MASKS for name in OF_A_SUBNETWORK),
    *OF_A_DENSE_RUN,
)


def controls(
    task: Task,
    recipe: Recipe,
    learning_rates: Sequence[float],
    rounds: Sequence[int],
    seeds: int,
    settings: Iterable[str] = SETTINGS,
    rate: float = PRUNED_PER_ROUND,
) -> Iterator[Trial]:
    """Every control at every learning rate, sparsity (by its number of IMP rounds) and seed.

    Raises InputError for an unknown setting.
    """
    wanted = set(settings)
    unknown = ", ".join(sorted(map(str, wanted - set(SETTINGS))))
    require(not unknown, f"Unknown setting {unknown}. Known: {', '.join(SETTINGS)}.")
    for lr in learning_rates:
        for seed in range(seeds):
            dense = pretraining(task, recipe.with_(lr=lr), seed)
            made = [Trial("pretraining", 0.0, dense)]
            for k in rounds:
                s = imp_sparsity(k, rate)
                for lt in (lt_imp(dense, k, rate), lt_omp(dense, s)):
                    made += [Trial("", s, make(lt)) for make in OF_A_SUBNETWORK.values()]
                made += [Trial(name, s, make(dense, s)) for name, make in OF_A_DENSE_RUN.items()]
            named = (Trial(trial.setting or setting(trial.run), trial.sparsity, trial.run) for trial in made)
            yield from (trial for trial in named if trial.setting in wanted)


COMPARED = (  # (ours, against, the question); "-" stands for the mask where a setting has one
    ("LT-", "RR-", "start: a ticket against a random start"),
    ("LT@RRnorms-", "RR-", "start: both at RR's norms"),
    ("LT-", "RR@LTnorms-", "start: both at LT's norms"),
    ("LT-", "LT@RRnorms-", "norms of LT alone"),
    ("LT-", "LT@RRsigns-", "signs of LT alone"),
    ("RR@LTsigns-", "RR-", "signs of LT given to RR"),
    ("LT-", "LT-shuffled-", "start and places: against shuffled places"),
    ("RR-", "LT-shuffled-", "places alone, from random starts"),
    ("LT-", "random-erk", "against ERK, no pretraining"),
    ("LT-", "random-uniform", "against uniform density, no pretraining"),
    ("LT-", "random-global", "against a random mask, no pretraining"),
    ("LT-", "SDT", "against a small dense network"),
)


def differences(
    table: pd.DataFrame, level: float = 0.95, compared: Sequence[tuple[str, str, str]] = COMPARED
) -> pd.DataFrame:
    """One row a mask, comparison and learning rate: mean difference of test accuracies, in points.

    Seeds are paired: a subnetwork and its control share data order, and whatever of θ0 and the mask they
    have in common. low, high: Student's interval of the paired differences, NaN for one seed. n: pairs.
    diverged: a seed of either did, and the mean is NaN. table: settings.COLUMNS, of any networks.
    """
    table = cells.checked(table)
    table = table[cells.trained(table)]
    about = ["network", "data", "epochs", "sparsity", "lr"]
    by_setting = {s: rows.set_index([*about, "seed"])["accuracy"] for s, rows in table.groupby("setting")}
    rows = []
    for mask in MASKS:
        for ours, against, question in compared:
            a, b = (name + mask if name.endswith("-") else name for name in (ours, against))
            if a in by_setting and b in by_setting:
                pairs = pd.concat([by_setting[a], by_setting[b]], axis=1, join="inner")
                gaps = pairs.iloc[:, 0] - pairs.iloc[:, 1]
                for cell, gap in gaps.groupby(level=about):
                    named = dict(zip(about, cell, strict=True))
                    rows.append({"mask": mask, "ours": a, "against": b, "question": question} | named)
                    rows[-1] |= _interval(gap.to_numpy(), level)
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


DIFFERENCES = (
    *("mask", "ours", "against", "question", "network", "data", "epochs", "sparsity", "lr"),
    *("difference", "low", "high", "n", "diverged"),
)


def _interval(gaps: np.ndarray, level: float) -> dict[str, float]:
    n, mean = len(gaps), float(gaps.mean())  # NaN if a seed diverged
    half = stats.t.ppf((1 + level) / 2, n - 1) * gaps.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    found = {"difference": mean, "low": mean - half, "high": mean + half}
    return found | {"n": n, "diverged": bool(np.isnan(gaps).any())}


def beats(
    table: pd.DataFrame,
    control: str,
    ticket: str = "LT-IMP",
    thresholds: Thresholds | None = None,
    level: float = 0.95,
) -> Condition:
    """Is the ticket clearly better than a control? ③ with the control in the place of RR:

        max_η A_ticket(η) − max_η A_control(η) > γ

    in both readings, as `tickets.verdict` judges ③. table: tidy, of one network, data set, number of epochs
    and sparsity, with one run a learning rate and seed of either setting.
    """
    table = cells.checked(table)
    cells.one_experiment(table)
    limits = thresholds or of_paper(table["data"].iloc[0])
    grid = set(table["lr"])
    ours, theirs = (cells.side(name, [name], table, grid) for name in (ticket, control))
    return condition(3, ours, theirs, limits.gap, level)


def beats_shuffled(
    table: pd.DataFrame, mask: str = "IMP", thresholds: Thresholds | None = None, level: float = 0.95
) -> Condition:
    """③m: does the ticket beat every random mask of equal layer counts? Arguments: of `beats`."""
    found = beats(table, f"LT-shuffled-{mask}", f"LT-{mask}", thresholds, level)
    return replace(found, sentence=found.sentence.replace("③", "③m", 1))


JUDGED = (  # (ticket, control) of `verdicts`
    *(("LT-", against) for against in ("RR-", "RR@LTnorms-", "RR@LTsigns-", "LT-shuffled-")),
    ("LT@RRnorms-", "RR-"),
    *(("LT-", name) for name in OF_A_DENSE_RUN),
)


def verdicts(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """One row a mask and control: does the ticket beat it (`beats`), by the means and by the seeds?"""
    rows = []
    for mask in MASKS:
        for pair in JUDGED:
            ticket, control = (name + mask if name.endswith("-") else name for name in pair)
            if {ticket, control} <= set(table["setting"]):
                found = beats(table, control, ticket, level=level)
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


def seen(table: pd.DataFrame, level: float = 0.95) -> str:
    """What norms do to the gap between LT and RR, a sentence a mask and learning rate, from the table."""
    found = differences(table, level)
    asked = (("LT-", "RR-", ""), ("LT@RRnorms-", "RR-", "at RR's norms "), ("LT-", "RR@LTnorms-", "at LT's "))
    lines = []
    for mask in MASKS:
        for lr in sorted(found["lr"].unique()):
            cell = found[(found["mask"] == mask) & (found["lr"] == lr)]
            said = []
            for ours, against, words in asked:
                row = cell[(cell["ours"] == ours + mask) & (cell["against"] == against + mask)]
                if len(row) == 1:
                    said.append(words + _with_interval(row.iloc[0]))
            if said:
                lines.append(f"{mask}, learning rate {lr:g}: LT − RR is {'; '.join(said)}.")
    return "\n".join(lines) or "Nothing has run yet."


def _with_interval(row: pd.Series) -> str:
    if row["diverged"]:
        return "lost: a seed diverged"
    text = f"{row['difference']:+.2f}"
    if math.isfinite(row["low"]):
        text += f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return text.replace("-", "−")
