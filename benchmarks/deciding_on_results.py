"""What seeds until decided would have trained: `python benchmarks/deciding_on_results.py`.

Replays `lthpaper run FIGURE --until-decided` on the published runs of a scale, with the seeds in several
orders: the part of all cells' cost that each look trains (`lthpaper.until_decided.SHARES` has the numbers).
"""

import argparse
import itertools
import random
from collections.abc import Iterator, Sequence

import pandas as pd

from lthpaper import studies
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.sweep.plan import plan
from lthpaper.until_decided import MOST_SEEDS, Question


def shares(figure: str, scale: str, orders: int) -> pd.DataFrame:
    """One row per order of the seeds; one column per look: the part of all cells' cost that it trains."""
    study = studies.study(figure, scale, train=False)
    have = study.scale.seeds
    found = []
    for i in range(orders):
        order = random.Random(i).sample(range(have), have)

        def trials_of(n: int, order: Sequence[int] = order) -> list[Trial]:
            return [trial for trial in study.trials if trial.run.seed in order[:n]]

        found.append(dict(replay(Question(trials_of, study.store, most=MOST_SEEDS), have)))
    return pd.DataFrame(found)


def replay(question: Question, have: int) -> Iterator[tuple[int, float]]:
    """(seeds, part of what all cells would cost that this look trains), on a store with `have` seeds of all.

    Costs are those of an empty store, ancestors included.
    """
    trials = list(question.trials_of(question.looks[0]))
    nothing = Store(question.store.folder / "nothing")
    before = _cost(trials, nothing)
    for last, seeds in itertools.pairwise(n for n in question.looks if n <= have):
        trials = [*trials, *question.more(trials, seeds)]
        now, all_ = _cost(trials, nothing), [_cost(question.trials_of(n), nothing) for n in (last, seeds)]
        yield seeds, (now - before) / (all_[1] - all_[0])
        before = now


def _cost(trials: Sequence[Trial], store: Store) -> int:
    return plan([t.run for t in trials], store).network_epochs


def main() -> None:
    """Print the shares and their means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", default="appendix-f")
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--orders", type=int, default=5)
    given = parser.parse_args()
    table = shares(given.figure, given.scale, given.orders)
    print(table.round(3).to_string(), table.mean().round(3).to_string(), sep="\n\n")


if __name__ == "__main__":
    main()
