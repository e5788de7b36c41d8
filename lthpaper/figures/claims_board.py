"""The paper's claims and later ones as a table, one row per comparison; `claims_picture` draws it."""

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lthpaper.figures import FIGURES, FigureSpec, register
from lthpaper.figures.claims_picture import board_of, plot
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.verdicts import claims
from lthpaper.verdicts.claims.outcome import EVIDENCE

trials = claims.trials
RENAMED = {"ours": "value", "by the means": "means"}  # of claims.evidence; a claim's board has these too


def keep(scale: Scale) -> Mapping[Run, frozenset[int]]:
    """The snapshots of the figures whose runs the claims read."""
    found: dict[Run, frozenset[int]] = {}
    for name in claims.figures():
        for run, epochs in FIGURES[name].keep(scale).items():
            found[run] = found.get(run, frozenset()) | epochs
    return found


def is_measured(run: Run, store: Store, scale: Scale) -> bool:
    """Whether every figure that reads weights of this run has measured it."""
    return all(spec.is_measured(run, store, scale) for spec in _reading(scale)[run])


@functools.lru_cache(maxsize=2)
def _reading(scale: Scale) -> dict[Run, list[FigureSpec]]:
    """The figures that read weights of a run."""
    found: dict[Run, list[FigureSpec]] = {}
    for name in claims.figures():
        for run in FIGURES[name].keep(scale):
            found.setdefault(run, []).append(FIGURES[name])
    return found


def measure(
    trials: list[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """One row per comparison: claims.board's columns of its claim, and its own of claims.evidence. The loss
    surfaces of runs that are there are evaluated."""
    return joined(claims.outcomes(scale, store, data_root, surfaces=True))


def joined(outcomes: list) -> pd.DataFrame:
    """claims.board and claims.evidence as one table: one row per comparison, or for a claim without any."""
    board, evidence = claims.board(outcomes), claims.evidence(outcomes)
    return board.merge(evidence.rename(columns=RENAMED), on="claim", how="left")


def evidence_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per comparison: the columns of claims.evidence, without its sentences."""
    names = {RENAMED.get(name, name): name for name in EVIDENCE if name != "sentence"}
    return table.dropna(subset="measured")[list(names)].rename(columns=names).reset_index(drop=True)


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The scoreboard's short columns, as text."""
    short = board_of(table)[["claim", "words", "status", "by the means", "ours", "n", "paper", "tried on"]]
    return short.set_index("claim")


register(
    "claims",
    FigureSpec(
        "The paper's fourteen claims, follow-ups, and how they fare",
        trials,
        plot,
        keep,
        tabulate,
        measure,
        is_measured=is_measured,
    ),
)
