"""Whole sanity checks, simulated: are the probabilities calibrated, and what do seeds until decided save?

    python benchmarks/simulated_checks.py calibration [--tables 400] [--out docs/calibration.png]
    python benchmarks/simulated_checks.py deciding [--tables 500]
    python benchmarks/simulated_checks.py parts [--tables 200]
    python benchmarks/simulated_checks.py errors [--tables 300]

A truth is four smooth curves over a grid of learning rates, drawn so that every kind of ticket occurs; seeds
scatter about them, a few cells more than the others, and LT and pretraining of a seed alike.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lthpaper.paper import Thresholds
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.deciding import HOPELESS, OTHER, Contest, Contests, level_of_a_look, looks
from lthpaper.verdicts.evidence import UNDECIDED
from lthpaper.verdicts.luck import Paired, Rivals
from lthpaper.verdicts.probabilities import probabilities
from lthpaper.verdicts.scatter import Cells
from lthpaper.verdicts.tickets import EITHER, JACKPOT, NONE, SECONDARY
from lthpaper.verdicts.uncertainty import Cell, beyond

GRID = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5)
LIMITS = Thresholds()
SIDES = ("LT-IMP", "RR-IMP", "SDT", "pretraining")
ROUNDS = 8  # of a chain; the last trains LT
FIXED = (3, 4, 5, 7, 10, 14, 20)  # seeds
DISTANCES = (0, 0.25, 0.5, 1, 2, 4)  # points
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


def truths(tables: int, seed: int = 1, wider: float = 1.0) -> Iterator[Truth]:
    """Peaked curves whose tops, places and widths differ; the tops by so many times more."""
    rng = np.random.default_rng(seed)
    x = np.log10(GRID)
    for _ in range(tables):
        below = (rng.normal(mean, sd * wider) for mean, sd in ((-1, 1.2), (-2, 1.5), (0.6, 0.9)))
        tops = 90 + np.array([0.0, *below])
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
    """A tidy table with so many seeds per cell."""
    about = {"network": "simulated", "data": "cifar10", "epochs": 160}
    return pd.DataFrame(
        about
        | {"setting": name, "lr": lr, "seed": seed, "accuracy": truth.seeds[i, j, seed]}
        | {"sparsity": 0.0 if name == "pretraining" else 0.914}
        for i, name in enumerate(SIDES)
        for j, lr in enumerate(GRID)
        for seed in range(have[name, lr])
    )


def predictions(tables: int) -> pd.DataFrame:
    """One row per check, n = 3 and 5, and kind: the predicted probability, and whether the truth is so."""
    rows = []
    for check, truth in enumerate(truths(tables)):
        for n in (3, 5):
            p = probabilities(*sides(truth, n), LIMITS, True)
            values = zip(KINDS, (p.jackpot, p.secondary, p.none), strict=True)
            about = {"check": check, "n": n}
            rows += [about | {"kind": k, "predicted": v, "true": k == truth.kind} for k, v in values]
    return pd.DataFrame(rows)


def calibration(found: pd.DataFrame, draws: int = 2000) -> pd.DataFrame:
    """One row per bin of predicted probability, over all kinds and n: how often it came true, with low and
    high, an interval at 95 % from draws of whole checks: the kinds and n of a check are not independent."""
    bins = pd.cut(found["predicted"], np.linspace(0, 1, 11), include_lowest=True)
    grouped = found.groupby(bins, observed=True)
    seen = grouped.agg(predicted=("predicted", "mean"), came_true=("true", "mean"), count=("true", "size"))
    of_check = found.groupby(["check", bins], observed=True)["true"].agg(["sum", "count"])
    true, count = (of_check[part].unstack(fill_value=0)[list(seen.index)] for part in ("sum", "count"))
    weights = np.random.default_rng(0).multinomial(len(true), np.full(len(true), 1 / len(true)), draws)
    there = weights @ count.to_numpy()
    shares = np.where(there > 0, weights @ true.to_numpy() / np.maximum(there, 1), np.nan)
    seen["low"], seen["high"] = np.nanquantile(shares, (0.025, 0.975), axis=0)
    return seen


def draw(seen: pd.DataFrame, checks: int, out: str) -> None:
    """The reliability diagram of a `calibration` over so many checks."""
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="calibrated")
    bars = [seen["came_true"] - seen["low"], seen["high"] - seen["came_true"]]
    ax.errorbar(seen["predicted"], seen["came_true"], yerr=bars, fmt="o-", capsize=2, label="simulated")
    ax.set(xlabel="predicted probability of a kind", ylabel="share that is of this kind")
    ax.legend(frameon=False)
    title = f"{checks} simulated checks, n = 3 and 5 seeds\nbars: 95 %, bootstrap over checks"
    ax.set_title(title, fontsize=9)
    fig.savefig(out, dpi=150)
    plt.close(fig)


def distance(truth: Truth) -> float:
    """How far the truth lies from what would make it another kind, in points: a ticket from the nearest of
    its thresholds, no ticket from the furthest that it misses."""
    lt, rr, sdt, dense = truth.curves
    best = lt.max()
    over = [best - sdt.max() - LIMITS.gap, best - rr.max() - LIMITS.gap, (lt - dense).max() + LIMITS.similar]
    fifth = abs(best - dense.max() + LIMITS.similar)
    return float(min(*over, fifth) if min(over) > 0 else -min(over))


def by_distance(tables: int) -> Iterator[tuple[str, Truth]]:
    """(class of distance, truth): equally many of each class, from `truths` with wider tops."""
    each = -(-tables // (len(DISTANCES) - 1))
    left = dict.fromkeys(range(len(DISTANCES) - 1), each)
    for truth in truths(1000 * tables, seed=2, wider=1.33):
        where = int(np.searchsorted(DISTANCES, distance(truth), side="right")) - 1
        if left.get(where):
            left[where] -= 1
            yield f"{DISTANCES[where]:g} to {DISTANCES[where + 1]:g} points", truth
        if not any(left.values()):
            return


@dataclass(frozen=True)
class Way:
    """How seeds are added. looks: numbers of seeds; level: of each look; hopeless: the chance to decide below
    which it stops (0: never); everywhere: in all cells, not in those alone that need them."""

    name: str
    looks: tuple[int, ...]
    level: float
    hopeless: float = HOPELESS
    everywhere: bool = False


def until_decided() -> Way:
    at = looks(20)
    return Way("until decided", at, level_of_a_look(at, 0.95))


def ways() -> list[Way]:
    """Seeds until decided, and fixed numbers of seeds."""
    return [until_decided(), *(Way(f"fixed n = {n}", (n,), 0.95) for n in FIXED)]


def parts() -> list[Way]:
    """Seeds until decided without one of its parts each, and with other looks."""
    whole = until_decided()
    few = (5, 10, 20)
    return [
        whole,
        replace(whole, name="never giving up", hopeless=0.0),
        replace(whole, name="seeds in all cells", everywhere=True),
        replace(whole, name="looks at 5, 10, 20", looks=few, level=level_of_a_look(few, 0.95)),
        *ways()[1:],
    ]


def deciding(tables: int, tried: Sequence[Way]) -> pd.DataFrame:
    """One row per check and way: class of distance, wrong, decided, trainings, most seeds of a cell."""
    return pd.DataFrame(
        {"distance": name, "way": way.name} | outcome(truth, way)
        for name, truth in by_distance(tables)
        for way in tried
    )


def on_threshold(tables: int) -> Iterator[Truth]:
    """Truths whose LT beats RR by exactly what ③ asks for, while ② and ④ hold by a point and ⑤ is as far off:
    to call it a ticket is wrong, and so is to call it none."""
    for truth in truths(1000 * tables, seed=3, wider=1.33):
        lt, rr, sdt, dense = truth.curves
        apart = lt.max() - sdt.max() - LIMITS.gap, (lt - dense).max() + LIMITS.similar
        if min(*apart, abs(lt.max() - dense.max() + LIMITS.similar)) < 1:
            continue
        shift = np.zeros((4, 1))
        shift[1] = lt.max() - LIMITS.gap - rr.max()
        yield Truth(truth.curves + shift, truth.scatter, truth.seeds + shift[..., None])
        tables -= 1
        if not tables:
            return


def errors(tables: int) -> pd.DataFrame:
    """Truths on ③'s threshold: how often is one called a ticket, and how often none? Percent."""
    found = pd.DataFrame(
        {"way": way.name} | outcome(truth, way)
        for truth in on_threshold(tables)
        for way in (until_decided(), Way("fixed n = 10", (10,), 0.95))
    )
    called = found.assign(
        ticket=100.0 * found["kind"].isin([JACKPOT, SECONDARY]), none=100.0 * (found["kind"] == NONE)
    ).groupby("way", sort=False)[["ticket", "none", "trainings"]]
    return called.mean().join(called.sem().add_prefix("± "))


def report(found: pd.DataFrame) -> None:
    """Prints, by distance: how much is called wrongly and decided, trainings with their standard error, and
    how many times as many a fixed number of seeds takes that decides as large a share."""
    for name, some in (*found.groupby("distance", sort=False), ("all", found)):
        groups = some.groupby("way", sort=False)[["wrong", "decided", "trainings"]]
        means = groups.mean() * [100, 100, 1]
        means["± trainings"] = some.groupby("way", sort=False)["trainings"].sem()
        fixed = means[means.index.str.startswith("fixed")]
        means["saving"] = [_saving(row, fixed) for _, row in means.iterrows()]
        print(f"\n{name}: {len(some) // some['way'].nunique()} checks")
        print(means.round({"saving": 2}).round(1).to_string(), flush=True)


def _saving(way: pd.Series, fixed: pd.DataFrame) -> float:
    """The trainings of a fixed number of seeds that decides as large a share (between two numbers, linear in
    the share; inf where 20 seeds decide fewer, nan where none is decided) over those of this way."""
    share = np.maximum.accumulate([0.0, *fixed["decided"]])
    costs = [0.0, *fixed["trainings"]]
    enough = int(np.searchsorted(share, way["decided"]))  # the fewest seeds that do
    if enough == 0 or enough == len(share):
        return np.nan if enough == 0 else np.inf
    part = (way["decided"] - share[enough - 1]) / (share[enough] - share[enough - 1])
    return float((costs[enough - 1] + part * (costs[enough] - costs[enough - 1])) / way["trainings"])


def outcome(truth: Truth, way: Way) -> dict[str, object]:
    """What comes of it: is the check decided, wrongly, with how many trainings."""
    have = np.full((4, 7), way.looks[0])
    for following in (*way.looks[1:], None):
        contests = contests_of(truth, have, way.level, way.looks[-1])
        kind = kind_of(contests)
        if kind in KINDS or following is None or contests.hope < way.hopeless:
            break
        wanted = np.ones((4, 7), bool) if way.everywhere else needed(contests)
        wanted[3] |= wanted.any(0)  # every subnetwork has its pretraining
        have = np.where(wanted, following, have)
    decided = kind in KINDS
    about = {"trainings": cost(have), "seeds": int(have.max()), "kind": kind}
    return {"wrong": decided and kind != truth.kind, "decided": decided} | about


def needed(contests: Contests) -> np.ndarray:
    """(4, 7): the cells that get more seeds."""
    wanted = np.zeros((4, len(GRID)), bool)
    for number in contests.open:
        ours, theirs = contests.of[number].cells
        wanted[0] |= ours
        wanted[OTHER[number]] |= theirs
    return wanted


def contests_of(truth: Truth, have: np.ndarray, level: float, most: int) -> Contests:
    """② to ⑤ with so many seeds per cell, have: (4, 7); as `verdicts.deciding` makes them of a table."""
    sides_ = [_cells(truth.seeds[i], have[i]) for i in range(4)]
    of = {}
    for number, other in OTHER.items():
        margin = LIMITS.gap if number in (2, 3) else -LIMITS.similar
        if number == 4:
            differences = _cells(truth.seeds[0] - truth.seeds[3], np.minimum(have[0], have[3]))
            test = Paired(differences, sides_[0].beside(sides_[3]))
            difference = differences.means.max()
        else:
            test = Rivals(sides_[0], sides_[other])
            difference = sides_[0].means.max() - sides_[other].means.max()
        holds = beyond(difference, margin, strict=number in (2, 3))
        of[number] = Contest(test, margin, holds, level, level if number == 5 else 1 - (1 - level) / 3)
    return Contests(of, {}, int(have[0].max()), most)


def kind_of(contests: Contests) -> str:
    """As `tickets.verdict` calls it."""
    of = contests.of
    if any(not of[n].holds and of[n].below.max() <= 1 - of[n].failing for n in (2, 3, 4)):
        return NONE
    jackpot, fifth_fails = (of[5].holds is way and of[5].called for way in (True, False))
    ticket = all(of[n].holds and of[n].called for n in (2, 3))
    if not (ticket and (jackpot or (of[4].holds and of[4].called))):
        return UNDECIDED
    return JACKPOT if jackpot else SECONDARY if fifth_fails else EITHER


def cost(have: np.ndarray) -> int:
    """Trainings: LT and RR of a seed need its chain of rounds, and that its pretraining. have: (4, 7)."""
    lt, rr, sdt, dense = have
    chains = np.maximum(lt, rr)
    return int((np.maximum(dense, chains) + ROUNDS * chains + rr + sdt).sum())


def _cells(accuracies: np.ndarray, seeds: np.ndarray) -> Cells:
    """Of the first so many seeds. accuracies: (cells, seeds at most); seeds: (cells,)."""
    rows = [Cells.of(row[None, :n]) for row, n in zip(accuracies, seeds, strict=True)]
    numbers = ([getattr(row, name)[0] for row in rows] for name in ("means", "variances", "seeds", "skews"))
    return Cells(*map(np.array, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("calibration", "deciding", "parts", "errors"))
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--out", default="", help="file of the reliability diagram")
    given = parser.parse_args()
    began = time.monotonic()
    if given.what == "calibration":
        seen = calibration(predictions(given.tables))
        print(seen.round(3).to_string())
        if given.out:
            draw(seen, given.tables, given.out)
    elif given.what == "errors":
        print(errors(given.tables).round(1).to_string())
    else:
        report(deciding(given.tables, ways() if given.what == "deciding" else parts()))
    print(f"{given.tables} simulated checks, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
