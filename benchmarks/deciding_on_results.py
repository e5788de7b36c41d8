"""What seeds until decided would have trained: `python benchmarks/deciding_on_results.py`.

Replays `lthpaper run FIGURE --until-decided` on the published runs of a scale, with the seeds in several
orders: the part of all cells' cost that each look trains (`lthpaper.until_decided.SHARES` has the numbers).
"""

import argparse
import random
from collections.abc import Sequence

import pandas as pd

from lthpaper import studies
from lthpaper.runs.settings import Trial
from lthpaper.until_decided import MOST_SEEDS, Question, replay


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
