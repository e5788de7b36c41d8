"""Table 3: the observations over all experiments, one column per network and data set.

What its rows ask is in `lthpaper.verdicts.observations`. The body of the paper's table is not at
hand: the rows follow §3.1's questions.
"""

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.drawn_table import draw_table
from lthpaper.figures.means import sizes_note, unfinished_note
from lthpaper.figures.sanity_panels import experiments as experiments_of
from lthpaper.figures.style import as_written
from lthpaper.figures.verdict_marks import neighbours
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.verdicts.characteristics import residual_count
from lthpaper.verdicts.evidence import NOT_RUN, UNDECIDED
from lthpaper.verdicts.observations import ALIKE, IMP, LT, OMP, RR, lead, observations
from lthpaper.verdicts.tickets import EITHER, JACKPOT, NONE, SECONDARY

MEANS, SEEDS = "by means", "by seeds"
READINGS = {MEANS: "", SEEDS: "_ours"}
WORDS = {"theta0": {LT: "yes", ALIKE: "no", RR: "re-drawn is better"}}
ROWS = {
    "pruning": "IMP or OMP better",
    "rate": "preferred learning rate",
    "theta0": "initial weights matter",
}
CLASSES: dict[str, dict[str, bool | None]] = {  # kind -> is it one? None: open
    "Jackpot ticket, up to s": {JACKPOT: True, EITHER: None, SECONDARY: False, NONE: False},
    "secondary prize, up to s": {JACKPOT: True, EITHER: True, SECONDARY: True, NONE: False},
}

trials = experiments.all_sparsities


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One column "network; data", one row per observation and reading, as text.

    Tickets are over all sparsities of the table; the other rows at the sparsity of Figure 3's panel, or
    the table's last where it has no such sparsity.
    """
    columns = {}
    tasks = {(t.network, t.data): t for t in scale.tasks}
    for network, data, rows in experiments_of(table, scale):
        found = observations(rows)
        found = found[found["epochs"] == found["epochs"].max()]
        task = tasks.get((network, data))
        at = _shown(found, network, data, scale)
        column = {"residual connections": "?" if task is None else str(residual_count(**task.shape))}
        for label, classes in CLASSES.items():
            for reading, suffix in READINGS.items():
                column[f"{label}, {reading}"] = _up_to(found, classes, suffix)
        column["compared at s"] = as_written(at["sparsity"])
        for question, label in ROWS.items():
            for reading, suffix in READINGS.items():
                column[f"{label}, {reading}"] = _answer(at, question, suffix)
        column["initial weights matter at learning rate"] = _rates(at, sorted(rows["lr"].unique()))
        columns[f"{network}; {data}"] = column
    frame = pd.DataFrame(columns)
    frame.index.name = "observation"
    return frame


def _shown(found: pd.DataFrame, network: str, data: str, scale: Scale) -> pd.Series:
    wanted = experiments.shown_sparsities(scale).get((network, data), 1.0)
    near = found[(found["sparsity"] - wanted).abs() < 0.005]
    return (near if len(near) else found.sort_values("sparsity")).iloc[-1]


def _up_to(found: pd.DataFrame, classes: dict[str, bool | None], suffix: str) -> str:
    """The largest sparsity with such a ticket, by mask; one word where the masks agree."""
    texts = {p: _one_mask(found, f"kind_{p}{suffix}", classes) for p in (IMP, OMP)}
    if len(set(texts.values())) == 1:
        return texts[IMP]
    return "; ".join(f"{p} {text}" for p, text in texts.items())


def _one_mask(found: pd.DataFrame, column: str, classes: dict[str, bool | None]) -> str:
    states = [(s, classes.get(kind)) for s, kind in zip(found["sparsity"], found[column], strict=True)]
    sure = max((s for s, is_one in states if is_one), default=0.0)
    above = [s for s, is_one in states if is_one is None and s > sure]
    if sure:
        return f"{as_written(sure)}{' or more' if above else ''}"
    if above:
        return NOT_RUN if NOT_RUN in set(found[column]) else UNDECIDED
    return "none"


def _answer(at: pd.Series, question: str, suffix: str) -> str:
    """The answer, with the difference of the bests where it is by the means."""
    answer = at[f"{question}{suffix}"]
    answer = WORDS.get(question, {}).get(answer, answer)
    return answer if suffix else answer + lead(question, at[question], at[f"{question}_difference"])


def _rates(at: pd.Series, grid: list[float]) -> str:
    """Learning rates at which LT is clearly above RR, neighbours in the grid as "from to"."""
    if at["theta0"] == NOT_RUN:
        return NOT_RUN
    runs = neighbours(at["theta0_at"], grid)
    return "; ".join(f"{r[0]:g} to {r[-1]:g}" if len(r) > 1 else f"{r[0]:g}" for r in runs) or "none"


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """The table as a picture."""
    frame = tabulate(table, scale)
    notes = [
        "By means: differences of mean accuracies against the thresholds of §2.2, CIFAR-10's for data that "
        "the paper does not use. By seeds: the same answer where the seeds give it a confidence of 95 %. A "
        'secondary prize row counts Jackpots too; "or more": the seeds leave a larger sparsity open.',
        "In brackets: points by which the better one leads; where both are alike, IMP − OMP, small − large, "
        "LT − RR. A small learning rate is below a fixed border, 0.03 at batches of 64. Initial weights "
        "matter where the best LT, of either mask, beats the best RR of either.",
        "We could not see the body of the paper's Table 3; the rows are ours, after the questions of §3.1.",
    ]
    of_what_ran = "; by means of those that are there" * bool(unfinished_note(table))
    notes.append(f"{sizes_note(table)}{of_what_ran}. Each answer is judged by itself.")
    return draw_table(frame, "Table 3: observations", notes, rules=[1, 5, 6, 8, 10])


register("table3", FigureSpec("The observations over all experiments", trials, plot, tabulate=tabulate))
