"""How often a verdict is wrong, and how often it calls what is there: docs/statistics.md's tables.

    python benchmarks/verdict_errors.py [--tables 1000] [--only WORD]

Each configuration is a truth: curves over seven learning rates and how each cell scatters. Errors put it
exactly on a threshold, so that calling either way is wrong. "before" is the statistic that pooled one
variance a side; it is kept here to compare with.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from lthpaper.measures.intervals import student
from lthpaper.verdicts.luck import Paired, Rivals, contending
from lthpaper.verdicts.scatter import Cells

FLAT = np.full(7, 90.0)
SMOOTH = 90 - np.array([8, 4, 1.5, 0.4, 0, 0.5, 2.0])
HILL = 90 - np.array([7, 4, 1.8, 1.5, 0, 1.5, 1.8])  # the neighbours contend, and lie well below
PEAK = np.array([50.0, 60, 70, 80, 90, 86, 75])
GAP = 0.5
SEEDS = (3, 5, 10)
DRAWS = 20261128  # of the reported tables; what was chosen by simulation was chosen on other draws
CHUNK = 4  # tables at once, which fits a cache
YES, NO = "yes", "no"


def alike(sd: float) -> np.ndarray:
    return np.full(7, sd)


def noisy(sd: float, others: float, *at: int) -> np.ndarray:
    """Standard deviations: `sd` at some learning rates, `others` elsewhere."""
    found = alike(others)
    found[list(at)] = sd
    return found


LADDER = np.geomspace(0.15, 1.5, 7)


@dataclass(frozen=True)
class Truth:
    """ours, theirs: (7,) expected accuracies; scatter: their standard deviations; call: the answer counted.

    shared: correlation of the two sides' seeds at one learning rate. paired: asked as ④ is.
    """

    name: str
    ours: np.ndarray
    our_scatter: np.ndarray
    theirs: np.ndarray
    their_scatter: np.ndarray
    call: str
    margin: float = GAP
    noise: str = "normal"
    shared: float = 0.0
    paired: bool = False
    more_of_ours: int = 0  # seeds


CALM = alike(0.3)
ERRORS = (
    Truth("③ yes, all sd 0.4", FLAT + GAP, alike(0.4), PEAK, alike(0.4), YES),
    Truth("③ no, all sd 0.4", PEAK + GAP, alike(0.4), FLAT, alike(0.4), NO),
    Truth("③ yes, LT sd 0.3, RR 0.6", FLAT + GAP, CALM, SMOOTH, alike(0.6), YES),
    Truth("③ yes, LT sd 0.6, RR 0.3", FLAT + GAP, alike(0.6), SMOOTH, CALM, YES),
    Truth("③ yes, one LT sd 2, rest 0.3", FLAT + GAP, noisy(2, 0.3, 4), PEAK, CALM, YES),
    Truth("③ yes, one LT sd 0.6, rest 0.3", FLAT + GAP, noisy(0.6, 0.3, 4), PEAK, CALM, YES),
    Truth("③ yes, two LT sd 1, rest 0.2", FLAT + GAP, noisy(1, 0.2, 3, 4), PEAK, alike(0.2), YES),
    Truth("③ no, two RR sd 1, rest 0.2", SMOOTH + GAP, alike(0.2), FLAT, noisy(1, 0.2, 3, 4), NO),
    Truth("③ yes, the best RR sd 2, rest 0.3", FLAT + GAP, CALM, HILL, noisy(2, 0.3, 4), YES),
    Truth("③ no, the best LT sd 2, rest 0.3", HILL + GAP, noisy(2, 0.3, 4), FLAT, CALM, NO),
    Truth("③ no, one RR sd 2, rest 0.3", SMOOTH + GAP, CALM, FLAT, noisy(2, 0.3, 0), NO),
    Truth("③ yes, LT sd 0.15 … 1.5, RR 0.15", FLAT + GAP, LADDER, SMOOTH, alike(0.15), YES),
    Truth("③ yes, LT sd 1.5 … 0.15, RR too", FLAT + GAP, LADDER[::-1].copy(), SMOOTH, LADDER, YES),
    Truth("④ yes, all sd 0.4", FLAT - GAP, alike(0.4), FLAT, alike(0.4), YES, -GAP, paired=True),
    Truth("④ yes, one LT sd 2, rest 0.3", FLAT - GAP, noisy(2, 0.3, 4), FLAT, CALM, YES, -GAP, paired=True),
    Truth("④ no, one LT sd 2, rest 0.3", HILL - GAP, noisy(2, 0.3, 4), FLAT, CALM, NO, -GAP, paired=True),
    Truth(
        "④ yes, one LT sd 2, seeds shared",
        FLAT - GAP,
        noisy(2, 0.3, 4),
        FLAT,
        CALM,
        YES,
        -GAP,
        "normal",
        0.8,
        True,
    ),
)
SHARED = {"margin": -GAP, "shared": 0.8, "paired": True}
POWERS = (
    *(
        Truth(f"+{points} points, sd {sd}, {name}", curve + points, alike(sd), curve, alike(sd), YES)
        for points, sd in ((3, 1.0), (2, 0.5), (1, 0.3))
        for name, curve in (("smooth", SMOOTH), ("flat", FLAT), ("peak", PEAK))
    ),
    Truth("④ yes, at 0 points, sd 0.5", SMOOTH, alike(0.5), SMOOTH, alike(0.5), YES, **SHARED),
    Truth("④ no, at −1.5 points, sd 0.5", SMOOTH - 1.5, alike(0.5), SMOOTH, alike(0.5), NO, **SHARED),
)


def shapes() -> Iterator[Truth]:
    """The error configurations under other distributions, and with unequal seeds."""
    for truth in ERRORS:
        for noise in ("t3", "skewed down", "skewed up"):
            yield replace(truth, name=f"{truth.name}; {noise}", noise=noise)
        if not truth.paired:
            for more in (4, -1):
                yield replace(truth, name=f"{truth.name}; n {more:+d} of ours", more_of_ours=more)


def draw(truth: Truth, tables: int, seeds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies (tables, 7, seeds) of either side."""
    n = seeds + truth.more_of_ours
    common = _noise(truth.noise, (tables, 7, max(n, seeds)), rng) * np.sqrt(truth.shared)
    own = [_noise(truth.noise, (tables, 7, k), rng) * np.sqrt(1 - truth.shared) for k in (n, seeds)]
    return tuple(
        means[:, None] + sd[:, None] * (common[..., : x.shape[-1]] + x)
        for means, sd, x in zip(
            (truth.ours, truth.theirs), (truth.our_scatter, truth.their_scatter), own, strict=True
        )
    )


def _noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """With mean 0 and standard deviation 1."""
    if kind == "t3":
        return rng.standard_t(3, shape) / np.sqrt(3)
    if kind.startswith("skewed"):
        return (rng.exponential(1, shape) - 1) * (1 if kind == "skewed up" else -1)
    return rng.standard_normal(shape)


def now(truth: Truth, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """p-values of the package's statistic."""
    found = []
    for i in range(0, len(ours), CHUNK):
        a, b = ours[i : i + CHUNK], theirs[i : i + CHUNK]
        sides = Cells.of(a), Cells.of(b)
        test = Paired(Cells.of(a - b), sides[0].beside(sides[1])) if truth.paired else Rivals(*sides)
        found.append((test.yes if truth.call == YES else test.no)(truth.margin))
    return np.concatenate(found)


def before(truth: Truth, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """p-values of the statistic that pooled one variance a side and took the largest of k independent t."""
    a, b = Cells.of(ours), Cells.of(theirs)
    gaps = a.means[:, :, None] - b.means[:, None, :] - truth.margin
    if truth.paired:
        gaps = np.einsum("tii->ti", gaps)
        pairs = Cells(gaps, a.variances + b.variances, a.seeds, a.skews)
        near = contending(Cells(gaps, np.zeros(gaps.shape), a.seeds, a.skews)) | contending(pairs)
        nears = near, near
    else:
        nears = contending(a), contending(b)
    sides = list(zip((a, b), nears, strict=True))
    squares = [(c.variances * (c.seeds - 1) * near).sum(1) for c, near in sides]
    freedom = [((c.seeds - 1) * near).sum(1) for c, near in sides]
    u, v = squares[0] / freedom[0], squares[1] / freedom[1]
    of_difference = (u + v) ** 2 / (u**2 / freedom[0] + v**2 / freedom[1])
    t = gaps / np.sqrt(u / a.seeds[:, 0] + v / b.seeds[:, 0]).reshape(-1, *[1] * (gaps.ndim - 1))
    if truth.paired:
        best, k = (t.max(1), nears[0].sum(1)) if truth.call == YES else ((-t).min(1), np.ones(len(t)))
    elif truth.call == YES:
        best, k = t.min(2).max(1), nears[0].sum(1)
    else:
        best, k = (-t).min(1).max(1), nears[1].sum(1)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    s = np.sqrt(2 * special.gammaincinv(of_difference[:, None] / 2, (nodes + 1) / 2) / of_difference[:, None])
    return -np.expm1(k[:, None] * special.log_ndtr(best[:, None] * s)) @ (weights / 2)


Statistic = Callable[[Truth, np.ndarray, np.ndarray], np.ndarray]


def rate(statistic: Statistic, truth: Truth, seeds: int, tables: int) -> float:
    """How often the answer is called. Each truth and number of seeds has draws of its own."""
    ours, theirs = draw(truth, tables, seeds, np.random.default_rng([DRAWS, seeds, *truth.name.encode()]))
    return float((statistic(truth, ours, theirs) <= 0.05).mean())


def rates(truths: tuple[Truth, ...], tables: int) -> pd.DataFrame:
    """Percent of tables that call the answer: one row per truth, before and now by number of seeds."""
    rows = []
    for truth in truths:
        if truth.more_of_ours + min(SEEDS) < 2:
            continue
        row = {"truth": truth.name}
        for name, statistic in (("before", before), ("now", now)):
            row |= {f"{name}, n = {n}": 100 * rate(statistic, truth, n, tables) for n in SEEDS}
        rows.append(row)
        print(f"{truth.name:48s}" + " ".join(f"{v:.1f}" for k, v in row.items() if k != "truth"), flush=True)
    return pd.DataFrame(rows)


def misses(tables: int) -> None:
    """Print how often the interval of a paired difference lies wholly above the truth, and wholly below."""
    print(f"\nIntervals of paired differences, percent above and below the truth at n = {SEEDS}")
    for noise in ("normal", "t3", "skewed down"):
        found = []
        for n in SEEDS:
            gaps = _noise(noise, (tables, n), np.random.default_rng([DRAWS, n, *noise.encode()]))
            ends = [student(row, grain=0.0) for row in gaps]
            found += [
                100 * np.mean([e.low > 0 for e in ends]),
                100 * np.mean([e.high < 0 for e in ends]),
            ]
        print(f"{noise:48s}" + " ".join(f"{v:.1f}" for v in found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables a configuration")
    parser.add_argument("--only", default="", help="configurations whose name contains this")
    given = parser.parse_args()
    began = time.monotonic()
    parts = {"Errors": ERRORS, "Power": POWERS, "Errors, other distributions and unequal n": tuple(shapes())}
    for title, truths in parts.items():
        print(f"\n{title}, percent: before at n = 3, 5, 10; now")
        rates(tuple(t for t in truths if given.only in t.name), given.tables)
    misses(10 * given.tables)
    print(f"\n{given.tables} tables each, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
