"""One setting minus another, seed by seed: the mean difference with Student's interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lthpaper.measures.intervals import grain_of, student
from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.evidence import LEVEL

FOUND = ("difference", "low", "high", "n", "diverged")


def paired(table: pd.DataFrame, ours: str, theirs: str, by: Sequence[str]) -> pd.DataFrame:
    """One row per group of `by` in which the settings have a seed in common: difference (points), low and
    high (NaN for one seed), n pairs, diverged.

    Seeds are paired: two subnetworks share data order, and whatever of θ0 and the mask they have in common.
    The scatter of the differences is not taken below that of half a test image, as two seeds may agree by
    chance. diverged: any seed of either did, in a pair or not, and the difference is NaN: what survived is
    not what the setting reaches. table: store.table.COLUMNS; `by` sets cells apart.
    """
    there = table[trained(table) & table["setting"].isin((ours, theirs))]
    there = there.drop_duplicates([*by, "setting", "seed"])  # a run may be of both recipes of Figure 1
    rows = []
    for values, cell in there.groupby(list(by)):
        first, second = (cell[cell["setting"] == s].set_index("seed")["accuracy"] for s in (ours, theirs))
        pairs = pd.concat([first, second], axis=1, join="inner")
        if len(pairs):
            diverged = bool(cell["accuracy"].isna().any())
            gaps = (pairs.iloc[:, 0] - pairs.iloc[:, 1]).to_numpy()
            found = student(np.full_like(gaps, np.nan) if diverged else gaps, grain_of(cell), LEVEL)
            rows.append((*values, *found, len(gaps), diverged))
    frame = pd.DataFrame(rows, columns=[*by, *FOUND])
    return frame.astype(dict.fromkeys(FOUND[:3], float))
