"""What the places of masks at initialisation are worth: each mask minus itself, shuffled."""

import pandas as pd

from lthpaper.runs.at_initialisation import MADE
from lthpaper.verdicts import controls
from lthpaper.verdicts.evidence import LEVEL, always_signed


def places(table: pd.DataFrame) -> pd.DataFrame:
    """One row per rule, start, learning rate and sparsity: less its mask shuffled (controls.differences).
    The starts are θ0, and θ0 at ordinary norms."""
    compared = [
        (f"{start}-{name}", f"LT-shuffled-{name}", "what its places are worth")
        for start in ("LT", "LT@RRnorms")
        for name in MADE
    ]
    found = controls.differences(table, compared=compared)
    found = found.drop_duplicates(["ours", "lr", "sparsity"])  # it is of no mask of IMP's or OMP's
    return found.drop(columns=["mask", "question", "network", "data", "epochs"]).reset_index(drop=True)


def seen(table: pd.DataFrame) -> str:
    """For each rule, a sentence: where its places help or hurt for sure, and by how much."""
    found = places(table)
    lines = []
    for (name, against), cells in found.groupby(["ours", "against"], sort=False):
        said = [
            f"{words} at {_where(cells, clear)} with {100 * LEVEL:g} % confidence"
            for words, clear in (("help", cells["low"] > 0), ("hurt", cells["high"] < 0))
            if clear.any()
        ]
        ends = [always_signed(end, 1) for end in (cells["difference"].min(), cells["difference"].max())]
        lines.append(
            f"{name} less {against}: {' … '.join(dict.fromkeys(ends))} points; its places "
            f"{' and '.join(said) or 'neither help nor hurt for sure'}."
        )
    return "\n".join(lines) or "Nothing has run yet."


def _where(cells: pd.DataFrame, clear: pd.Series) -> str:
    """ "0.005 (3 of 3 sparsities) and 0.1 (1 of 3)", of those learning rates with any."""
    counts = clear.groupby(cells["lr"]).agg(["sum", "size"])
    counts = counts[counts["sum"] > 0]
    first, *others = (f"{lr:g} ({row['sum']} of {row['size']}" for lr, row in counts.iterrows())
    return " and ".join([f"{first} sparsities)", *(f"{text})" for text in others)])
