"""Seeds until decided: rounds of seeds for the cells that could still decide a verdict, and what they cost.

Everything is trained with two seeds. Then each round adds seeds only to the cells that a verdict still rests
on, for every network, data set and sparsity by itself (`verdicts.deciding` has the rule and the level that
repeated looks ask for). It ends when every verdict is decided or too close to call, at the most seeds, or
when the time is over. What is trained stays in the store, so that the same call goes on.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lthpaper.errors import require
from lthpaper.paper import Thresholds
from lthpaper.runs.recipe import CURVE_POINTS
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.sweep import simulate
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan
from lthpaper.sweep.stopping import Unfinished
from lthpaper.verdicts import cells, deciding, tickets

MOST_SEEDS = deciding.LOOKS[-1]
# Part of all cells' cost that a look still trains (`benchmarks/deciding_on_results.py --orders 1`): the
# published laptop results (Appendix F). At 8 seeds nothing was left; later looks count as the last.
SHARES = {3: 0.52, 4: 0.80, 6: 0.39, 8: 0.0}
Where = tuple[str, str, int, str, float, float]  # network, data, epochs, setting, sparsity, learning rate


@dataclass(frozen=True)
class Question:
    """The verdicts to decide. trials_of: every run with so many seeds. level: of all looks together."""

    trials_of: Callable[[int], Sequence[Trial]]
    store: Store
    thresholds: Thresholds | None = None  # None: the paper's for each data set
    most: int = MOST_SEEDS
    level: float = 0.95

    def __post_init__(self):
        settings = {trial.setting for trial in self.trials_of(1)}
        starts = {setting.partition("-")[0] for setting in settings}
        require(
            {"LT", "RR", "pretraining"} <= starts,
            f"There is no verdict to decide: the runs are {', '.join(sorted(settings))}. Seeds until decided "
            "are for figures with verdicts, such as fig3 and appendix-f, and for `lthpaper check`.",
        )

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which to look. Raises InputError if `most` is fewer than one begins with."""
        return deciding.looks(self.most)

    @property
    def level_of_a_look(self) -> float:
        return deciding.level_of_a_look(self.looks, self.level)

    def contested(self, trials: Sequence[Trial]) -> set[Where]:
        """The cells whose seeds could decide what is open; pretraining's sparsity is 0.

        A subnetwork's seed trains its pretraining too, so the pretraining at the same learning rate counts.
        """
        found: set[Where] = set()
        judged = cells.checked(table(trials, self.store))
        longest = judged.groupby(["network", "data"])["epochs"].transform("max")
        judged = judged[judged["epochs"] == longest]  # shorter trainings are no ticket by ①
        for about, experiment in judged.groupby(["network", "data", "epochs"]):
            for _, rows in cells.by_sparsity(experiment):
                sparsities = rows.loc[rows["setting"] != "pretraining", "sparsity"].unique()
                prunings = tickets.prunings_of(rows)
                level = self.level_of_a_look
                for setting, lr in deciding.contested(rows, self.thresholds, prunings, level, self.most):
                    found.add((*about, "pretraining", 0.0, lr))
                    if setting != "pretraining":
                        found |= {(*about, setting, float(s), lr) for s in sparsities}
        return found

    def more(self, trials: Sequence[Trial], seeds: int) -> list[Trial]:
        """What another look trains: the contested cells with so many seeds, less what `trials` has."""
        wanted, there = self.contested(trials), set(trials)
        return [t for t in self.trials_of(seeds) if _place(t) in wanted and t not in there]

    def verdicts(self, trials: Sequence[Trial]) -> pd.DataFrame:
        """`tickets.verdicts` at the level that repeated looks ask for."""
        return tickets.verdicts(table(trials, self.store), self.thresholds, level=self.level_of_a_look)


def decide(
    question: Question,
    data_root: Path,
    device: str,
    workers: int | None = None,
    budget: float | None = None,
    told: Callable[[str], None] = lambda sentence: None,
    quiet: bool = False,
    curve_points: int = CURVE_POINTS,
    time_limit: float | None = None,
) -> pd.DataFrame:
    """Train seeds until every verdict is decided, the most seeds are reached or the budget (seconds) is over.

    Returns the verdicts; attrs: seeds, how many the cells with most have; network_epochs, trained here;
    finished, False if the budget ended it. told: is given one sentence per round, at the end the verdicts and
    what they cost. Raises Unfinished after that if a signal or the time limit (seconds) ended it.
    """
    ends = [time.monotonic() + (math.inf if s is None else s) for s in (budget, time_limit)]
    where: tuple[Any, ...] = (question.store, data_root, device, workers)
    how: dict[str, Any] = {"quiet": quiet, "curve_points": curve_points, "signals": True}
    trials: list[Trial] = []
    cost, reached, finished = 0, 0, True
    stopped: Unfinished | None = None
    for seeds in question.looks:
        more = question.more(trials, seeds) if trials else list(question.trials_of(seeds))
        if not more:
            break
        if trials:
            open_ = len({_place(t) for t in more})
            cells_are, them = ("cell is", "it") if open_ == 1 else ("cells are", "them")
            told(f"{open_} {cells_are} still open: up to {seeds} seeds for {them}.")
        trials, reached = [*trials, *more], seeds
        how["time_limit"] = None if math.isinf(min(ends)) else max(0.0, min(ends) - time.monotonic())
        try:
            cost += execute([t.run for t in trials], *where, **how).network_epochs
        except Unfinished as why:
            cost, finished = cost + why.network_epochs, False
            if why.asked or ends[1] < ends[0]:
                stopped = why
            else:
                told(f"The budget ended it: {why}")
            break
    judged = question.verdicts(trials)
    for verdict in judged["verdict"] if finished else ():
        if sentence := deciding.too_close(verdict, question.most):
            told(sentence)
    for verdict in judged["verdict"]:
        told(str(verdict))
    told(f"{cost:,} network-epochs, up to {reached} seeds per cell.")
    if stopped is not None:
        raise stopped
    judged.attrs |= {"seeds": reached, "network_epochs": cost, "finished": finished}
    return judged


def expected(question: Question, device: str = "", workers: int | None = None) -> dict[str, str]:
    """What it will cost, before anything starts: to begin with, expected in all, at most. device "": no time.

    Expected is the first look's cost, and of each later look's the part that SHARES gives: what the published
    results would have taken. Another network may take less or more.
    """
    plans = [plan([t.run for t in question.trials_of(n)], question.store) for n in question.looks]
    epochs = [each.network_epochs for each in plans]
    total = float(epochs[0])
    for seeds, before, now in zip(question.looks[1:], epochs, epochs[1:], strict=False):
        total += SHARES.get(min(seeds, max(SHARES)), min(SHARES.values())) * (now - before)
    seconds = simulate.here(plans[0], device, workers).makespan if device else 0.0

    def said(network_epochs: float) -> str:
        timed = bool(device) and epochs[0] > 0
        time_ = f", {simulate.duration(seconds * network_epochs / epochs[0])} on {device}" if timed else ""
        return f"{network_epochs:,.0f} network-epochs{time_}"

    first, last = question.looks[0], question.looks[-1]
    return {
        f"to begin with, {first} seeds per cell": said(epochs[0]),
        "expected in all": said(total),
        f"at most, {last} seeds per cell": said(epochs[-1]),
    }


def _place(trial: Trial) -> Where:
    run = trial.run
    about = (run.task.network, run.task.data, run.recipe.epochs)
    return (*about, trial.setting, trial.sparsity, run.recipe.lr)
