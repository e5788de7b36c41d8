"""Claims 12 and 13: weight rewinding (Appendix D) and mixed learning rates (§4, Table 4)."""

import pandas as pd

from lthpaper.claims.outcome import Outcome, Part, ranges
from lthpaper.claims.relations import ABOVE, relate, side
from lthpaper.claims.results import Results
from lthpaper.paper import CLAIMS


def claim_12(results: Results) -> Outcome:
    """With either pruning, at each learning rate: some early epoch's weights beat θ0's, by any amount."""
    table = results.network(results.scale.epochs)
    parts = []
    for label in ("IMP", "OMP"):
        rewound = table[table["setting"] == f"WR-{label}"]
        for (s, lr), rows in rewound.groupby(["sparsity", "lr"]):
            named = rows.assign(setting=f"WR-{label} from epoch " + rows["rewind"].map("{:g}".format))
            ours = side(named, *sorted(named["setting"].unique()), lrs=(lr,))
            theirs = side(results.network(results.scale.epochs, s), f"LT-{label}", lrs=(lr,))
            about = results.about(results.scale.epochs, float(s), lr=lr)
            parts.append(relate(ours, ABOVE, theirs, 0.0, about, f"WR-{label} − LT-{label}"))
    return Outcome(CLAIMS[11], tuple(parts), ranges(parts), "")


def claim_13(results: Results) -> Outcome:
    """For each pretraining learning rate: LT-IMP at some other one is better, by any amount.

    "Slightly" is not judged; the numbers say how much.
    """
    scale = results.scale
    table = results.table
    table = table[
        (table["network"] == scale.network)
        & (table["data"] == scale.data)
        & (table["epochs"] == scale.epochs)
        & (table["setting"] == "LT-IMP")
    ]
    if "digest" in table:
        table = table.drop_duplicates(["setting", "sparsity", "digest"])
    mixed = table[table["lr"] != table["pretraining_lr"]]
    parts = [
        _mixed(results, table, float(s), float(lr))
        for s, lr in mixed[["sparsity", "pretraining_lr"]].drop_duplicates().itertuples(index=False)
    ]
    return Outcome(CLAIMS[12], tuple(parts), ranges(parts), "")


def _mixed(results: Results, table: pd.DataFrame, s: float, pretraining_lr: float) -> Part:
    rows = table[((table["sparsity"] - s).abs() < 1e-6) & (table["pretraining_lr"] == pretraining_lr)]
    same = side(rows, "LT-IMP", lrs=(pretraining_lr,))
    others = tuple(sorted(set(rows["lr"]) - {pretraining_lr}))
    other = side(rows, "LT-IMP", lrs=others)
    about = results.about(results.scale.epochs, s, lr=pretraining_lr)
    label = f"LT-IMP, other rates − the same, masks from {pretraining_lr:g}"
    return relate(other, ABOVE, same, 0.0, about, label)
