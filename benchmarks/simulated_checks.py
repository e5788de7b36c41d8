"""Whole sanity checks, simulated: are the probabilities calibrated, and what do seeds until decided save?

    python benchmarks/simulated_checks.py calibration [--tables 400] [--out docs/calibration.png]
    python benchmarks/simulated_checks.py deciding [--tables 200]

A truth is four smooth curves over a grid of learning rates, drawn so that every kind of ticket occurs; seeds
scatter about them, a few cells more than the others, and LT and pretraining of a seed alike.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lthpaper.paper import Thresholds
from lthpaper.verdicts import tickets
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.deciding import contested, level_of_a_look, looks
from lthpaper.verdicts.probabilities import probabilities
from lthpaper.verdicts.tickets import JACKPOT, NONE, SECONDARY, verdict
from lthpaper.verdicts.uncertainty import Cell

GRID = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5)
LIMITS = Thresholds()
SIDES = ("LT-IMP", "RR-IMP", "SDT", "pretraining")
COST = {
    "pretraining": 1,
    "LT-IMP": 9,
    "RR-IMP": 1,
    "SDT": 1,
}  # trainings a seed: LT's has the chain of 8 rounds
FIXED = (3, 5, 10, 20)  # seeds
KINDS = (JACKPOT, SECONDARY, NONE)


@dataclass(frozen=True)
class Truth:
    """curves: (4, 7), expected accuracies of SIDES; scatter: (4, 7); seeds: (4, 7, 40), accuracies."""

    curves: np.ndarray
    scatter: np.ndarray
    seeds: np.ndarray

    @property
    def kind(self) -> str:
        lt, rr, sdt, dense = self.curves
        best = lt.max()
        third = best - rr.max() > LIMITS.gap and best - sdt.max() > LIMITS.gap
        if not (third and (lt - dense).max() >= -LIMITS.similar):
            return NONE
        return JACKPOT if best - dense.max() >= -LIMITS.similar else SECONDARY


def truths(tables: int, seed: int = 1) -> Iterator[Truth]:
    """Peaked curves whose tops, places and widths differ."""
    rng = np.random.default_rng(seed)
    x = np.log10(GRID)
    for _ in range(tables):
        tops = 90 + np.array([0.0, rng.normal(-1, 1.2), rng.normal(-2, 1.5), rng.normal(0.6, 0.9)])
        at = np.array([-1.2, -1.2, -1.0, -1.0]) + rng.normal(0, 0.35, 4)
        curves = tops[:, None] - rng.uniform(0.5, 3, (4, 1)) * (x - at[:, None]) ** 2
        scatter = np.full((4, 7), rng.uniform(0.2, 0.8))
        scatter[rng.random((4, 7)) < 0.07] *= 3
        noise = rng.standard_normal((4, 7, 40))
        noise[3] = 0.7 * noise[0] + np.sqrt(1 - 0.7**2) * noise[3]
        yield Truth(curves, scatter, curves[..., None] + scatter[..., None] * noise)


def sides(truth: Truth, n: int) -> list[Side]:
    return [
        Side(
            name,
            tuple(Cell(name, lr, tuple(a[:n])) for lr, a in zip(GRID, truth.seeds[i], strict=True)),
            (),
            (),
        )
        for i, name in enumerate(SIDES)
    ]


def table(truth: Truth, have: dict[tuple[str, float], int]) -> pd.DataFrame:
    """A tidy table with so many seeds a cell."""
    about = {"network": "simulated", "data": "cifar10", "epochs": 160}
    return pd.DataFrame(
        about
        | {"setting": name, "lr": lr, "seed": seed, "accuracy": truth.seeds[i, j, seed]}
        | {"sparsity": 0.0 if name == "pretraining" else 0.914}
        for i, name in enumerate(SIDES)
        for j, lr in enumerate(GRID)
        for seed in range(have[name, lr])
    )


def calibration(tables: int, out: str) -> pd.DataFrame:
    """One row a bin of predicted probability, over all kinds and n = 3 and 5: how often it came true."""
    rows = []
    for truth in truths(tables):
        for n in (3, 5):
            p = probabilities(*sides(truth, n), LIMITS, True)
            values = zip(KINDS, (p.jackpot, p.secondary, p.none), strict=True)
            rows += [{"kind": k, "n": n, "predicted": v, "true": k == truth.kind} for k, v in values]
    found = pd.DataFrame(rows)
    bins = pd.cut(found["predicted"], np.linspace(0, 1, 11), include_lowest=True)
    grouped = found.groupby(bins, observed=True)
    seen = grouped.agg(predicted=("predicted", "mean"), came_true=("true", "mean"), count=("true", "size"))
    if out:
        _draw(found, seen, out)
    return seen


def _draw(found: pd.DataFrame, seen: pd.DataFrame, out: str) -> None:
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    error = np.sqrt(seen["came_true"] * (1 - seen["came_true"]) / seen["count"])
    ax.errorbar(seen["predicted"], seen["came_true"], yerr=2 * error, fmt="o-", capsize=2)
    ax.set_xlabel("predicted probability of a kind")
    ax.set_ylabel("share that is of this kind")
    ax.set_title(f"{len(found) // 6} simulated checks, n = 3 and 5", fontsize=9)
    fig.savefig(out, dpi=150)


def scenario(truth: Truth) -> str:
    """How far the truth lies from what would make it another kind: from a threshold, in points."""
    lt, rr, sdt, dense = truth.curves
    best = lt.max()
    over = [best - sdt.max() - LIMITS.gap, best - rr.max() - LIMITS.gap, (lt - dense).max() + LIMITS.similar]
    fifth = abs(best - dense.max() + LIMITS.similar)
    far = min(*over, fifth) if min(over) > 0 else -min(over)
    return (
        "clear (1 point or more)"
        if far >= 1
        else "moderate"
        if far >= 0.4
        else "at a threshold (0.4 or less)"
    )


def deciding(tables: int) -> None:
    """Errors, share decided and trainings: seeds until decided against fixed numbers of seeds.

    Saving: the trainings of a fixed number of seeds that decides as large a share (between two numbers,
    linear in the share) over those of seeds until decided; ">" where even 20 seeds decide fewer.
    """
    tickets.probabilities = lambda *given: None  # type: ignore[assignment]  # not asked here, and slow
    at = looks(20)
    each = level_of_a_look(at, 0.95)
    rows = []
    for truth in truths(tables, seed=2):
        have = {(name, lr): at[0] for name in SIDES for lr in GRID}
        for n in at:
            if n > at[0]:
                wanted = contested(table(truth, have), LIMITS, ["IMP"], each)
                if not wanted:
                    break
                have |= dict.fromkeys(wanted | {("pretraining", lr) for _, lr in wanted}, n)
        about = {"scenario": scenario(truth)}
        rows.append(about | _outcome(truth, have, "until decided", each))
        for n in FIXED:
            fixed = {(name, lr): n for name in SIDES for lr in GRID}
            rows.append(about | _outcome(truth, fixed, f"fixed n = {n}", 0.95))
    found = pd.DataFrame(rows)
    for name, some in (*found.groupby("scenario"), ("all", found)):
        means = some.drop(columns="scenario").groupby("way", sort=False).mean() * [100, 100, 1]
        print(f"\n{name}: {len(some) // (1 + len(FIXED))} checks; saving {_saving(means)}")
        print(means.round(1).to_string(), flush=True)


def _saving(means: pd.DataFrame) -> str:
    """means: a row a way, until decided first, then rising numbers of seeds."""
    share, cost = means["decided, %"].to_numpy(), means["trainings"].to_numpy()
    if share[0] > share[1:].max():
        return f"> {cost[-1] / cost[0]:.1f}×"
    return f"{np.interp(share[0], np.maximum.accumulate(share[1:]), cost[1:]) / cost[0]:.1f}×"


def _outcome(truth: Truth, have: dict[tuple[str, float], int], way: str, level: float) -> dict[str, object]:
    kind = verdict(table(truth, have), LIMITS, "IMP", level=level).kind_ours
    cost = 0
    for lr in GRID:
        chain = max(have["LT-IMP", lr], have["RR-IMP", lr])
        cost += have["pretraining", lr] + COST["LT-IMP"] * chain - min(chain, have["pretraining", lr])
        cost += have["RR-IMP", lr] + have["SDT", lr]
    decided = kind in KINDS
    return {"way": way, "wrong, %": decided and kind != truth.kind, "decided, %": decided, "trainings": cost}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("calibration", "deciding"))
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--out", default="", help="file of the reliability diagram")
    given = parser.parse_args()
    began = time.monotonic()
    if given.what == "calibration":
        print(calibration(given.tables, given.out).round(3).to_string())
    else:
        deciding(given.tables)
    print(f"{given.tables} simulated checks, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
