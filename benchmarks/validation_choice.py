"""What choosing learning rates on validation images changes: `python benchmarks/validation_choice.py`.

Simulated: LT has the same true accuracy at each of seven learning rates, RR has it at one and is far below
elsewhere. Every seed has its own luck, and ρ is the correlation of its luck on validation and on test images.
LT's truth lies exactly on ③'s threshold above RR's, so whoever calls it "above" is wrong.

  reported   points by which LT's accuracy at the chosen rate exceeds the truth, in the mean
  alone      percent of tables called above at 95 %, where the two chosen rates are compared by themselves
  called     as verdicts do it: the comparison among all rates must call it too (verdicts/conditions.py)
"""

import argparse

import numpy as np

from lthpaper.verdicts.scatter import Cells
from lthpaper.verdicts.uncertainty import Rivals

FLAT, PEAK = np.full(7, 90.0), np.array([50.0, 60, 70, 80, 90, 86, 75])
GAP, SPREAD, LEVEL = 1.5, 0.4, 0.95
CHUNK = 50  # tables at once


def drawn(
    truth: np.ndarray, seeds: int, shared: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies on test and on validation images, (tables, rates, seeds) each."""
    shape = (CHUNK, len(truth), seeds)
    both = shared**0.5 * rng.standard_normal(shape)
    own = (1 - shared) ** 0.5 * rng.standard_normal((2, *shape))
    test, validation = truth[:, None] + SPREAD * (both + own)
    return test, validation


def cells(accuracies: np.ndarray) -> Cells:
    """(tables, rates, seeds) -> (tables, rates)"""
    seeds = np.full(accuracies.shape[:2], float(accuracies.shape[2]))
    return Cells(accuracies.mean(2), accuracies.var(2, ddof=1), seeds)


def chosen(test: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """(tables, 1, seeds): test accuracies at the rate that is best on validation images."""
    best = validation.mean(2).argmax(1)
    return np.take_along_axis(test, best[:, None, None], 1)


def simulated(seeds: int, shared: float, chunks: int) -> tuple[float, ...]:
    """Points reported too much, chosen on test and on validation images; the shares of errors, percent."""
    rng = np.random.default_rng([seeds, round(100 * shared)])
    found = []
    for _ in range(chunks):
        lt, rr = (drawn(truth, seeds, shared, rng) for truth in (FLAT + GAP, PEAK))
        at = chosen(*lt)
        alone = Rivals(cells(at), cells(chosen(*rr))).yes(GAP) <= 1 - LEVEL
        among = Rivals(cells(lt[0]), cells(rr[0])).yes(GAP) <= 1 - LEVEL
        over = [lt[0].mean(2).max(1) - FLAT[0] - GAP, at.mean((1, 2)) - FLAT[0] - GAP]
        found.append([*over, 100.0 * alone, 100.0 * (alone & among)])
    return tuple(np.mean(found, axis=(0, 2)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=1000)
    chunks = -(-parser.parse_args().tables // CHUNK)
    print("| seeds | ρ | reported, test | reported, validation | alone | called |\n|--:|--:|--:|--:|--:|--:|")
    for seeds in (3, 10):
        for shared in (0.0, 0.3, 0.6, 0.9):
            test, held, alone, called = simulated(seeds, shared, chunks)
            print(f"| {seeds} | {shared:g} | {test:+.2f} | {held:+.2f} | {alone:.1f} | {called:.1f} |")


if __name__ == "__main__":
    main()
