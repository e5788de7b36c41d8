"""Means over seeds for figures: a cell's mean and spread, cells that diverged, what n is."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from lthpaper.figures.marks import PLACE
from lthpaper.verdicts.cells import trained

CROSS = "×: a seed diverged"
WIDE = 95  # characters of a caption's line
NOTHING = "nothing has run yet"


def spread(table: pd.DataFrame, by: str | Sequence[str]) -> pd.DataFrame:
    """One row per group: mean, std over seeds (ddof 1; NaN for one seed), n, and whether a seed diverged.

    A group with a diverged seed has a NaN mean and std, as verdicts rule it out: those that survived are
    not what the setting reaches. A run that is not trained yet counts for nothing.
    """
    keys = [by] if isinstance(by, str) else list(by)
    lost = (trained(table) & table["accuracy"].isna()).groupby([table[key] for key in keys]).any()
    groups = table.groupby(keys)["accuracy"]
    found = pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "n": groups.count()})
    found["diverged"] = lost.astype(bool)
    found.loc[found["diverged"], ["mean", "std"]] = math.nan
    return found.reset_index()


def converged(table: pd.DataFrame) -> pd.DataFrame:
    """The trained rows of cells of which no seed diverged: what means and error bars are taken over."""
    keys = [key for key in PLACE if key in table]
    lost = (trained(table) & table["accuracy"].isna()).groupby([table[k] for k in keys], dropna=False)
    return table[~lost.transform("any") & table["accuracy"].notna()]


def diverged(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The cells of which a seed diverged, one row each, with the columns `by`."""
    return table.loc[trained(table) & table["accuracy"].isna(), list(by)].drop_duplicates()


def plus_minus(deviation: float, digits: int = 1) -> str:
    """ " ± 0.3", behind a mean; "" where there is no deviation (NaN, of one seed)."""
    return f" ± {deviation:.{digits}f}" if math.isfinite(deviation) else ""


def accuracy_said(values: pd.Series, most: int) -> str:
    """A table's cell: "93.6 ± 0.4", or "93.6 ± 0.4 (1 of 3 diverged)". values: one per seed, percent,
    NaN where it diverged; most: seeds of the fullest cell."""
    n, there = len(values), values.dropna()
    lost = f"{n - len(there)} of {n} diverged" if len(there) < n else ""
    if there.empty:
        return lost
    note = lost or (f"n = {n}" if n < most else "")
    return f"{there.mean():.1f}{plus_minus(there.std(ddof=1))}" + (f" ({note})" if note else "")


def seeds(table: pd.DataFrame) -> str:
    """n in words, over the cells (`counted`)."""
    return counted(_seeds_per_cell(table))


def _seeds_per_cell(table: pd.DataFrame) -> pd.Series:
    cells = spread(table, ["setting", "lr", "sparsity", "epochs", "network", "data"])
    return cells.loc[~cells["diverged"] & (cells["n"] > 0), "n"]


def counted(n: pd.Series) -> str:
    """Numbers of seeds in words: "one seed", "5 seeds", "3–10 seeds", or that nothing has run yet."""
    if n.empty:
        return NOTHING
    low, high = int(n.min()), int(n.max())
    return "one seed" if high == 1 else f"{high} seeds" if low == high else f"{low}–{high} seeds"


def seeds_note(table: pd.DataFrame) -> str:
    """What the error bars are, with n."""
    return spread_note(_seeds_per_cell(table))


def spread_note(n: pd.Series) -> str:
    """What the error bars are over cells of so many seeds each."""
    said = counted(n)
    bars = " (no bar: one seed, or shorter than the mark)" if said.startswith("1–") else ""
    return said if said in ("one seed", NOTHING) else f"mean ± standard deviation of {said}{bars}"


def caption(table: pd.DataFrame) -> str:
    """What the error bars are, the epochs, what × means, and how many runs are missing."""
    bars = seeds_note(table[table["accuracy"].notna()])
    return listed(bars, epochs_note(table), diverged_note(table), unfinished_note(table))


def sizes_note(table: pd.DataFrame) -> str:
    """How many seeds and epochs are behind what is said of a table, and how many runs are missing."""
    return listed(seeds(table[table["accuracy"].notna()]), epochs_note(table), unfinished_note(table))


def epochs_note(table: pd.DataFrame) -> str:
    """The lengths of training: ImageNet's are fewer."""
    return f"{' or '.join(map(str, sorted(table['epochs'].unique(), reverse=True)))} epochs"


def diverged_note(table: pd.DataFrame) -> str:
    """What × means, if there is one."""
    return CROSS if (trained(table) & table["accuracy"].isna()).any() else ""


def unfinished_note(table: pd.DataFrame) -> str:
    """How many runs are missing, if only some are."""
    ran = trained(table)
    return "" if ran.all() or not ran.any() else f"{(~ran).sum():,} of {len(ran):,} runs are still missing"


def listed(*notes: str) -> str:
    """Notes of a caption in one part, without those that say nothing."""
    return "; ".join(filter(None, notes))


def in_lines(parts: Iterable[str]) -> str:
    """What a caption says, part after part, in as few lines of at most WIDE characters as that takes."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + 2 + len(part) <= WIDE:
            lines[-1] += f"; {part}"
        else:
            lines.append(part)
    return "\n".join(lines)
