"""Claims 12 and 13: weight rewinding (Appendix D) and mixed learning rates (§4, Table 4)."""

import pandas as pd

from lthpaper.paper import CLAIMS
from lthpaper.runs.run import Rewind
from lthpaper.verdicts.cells import side
from lthpaper.verdicts.claims.outcome import Outcome, ranges
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.relations import Part, relate_chosen, rows


def claim_12(results: Results) -> Outcome:
    """With either pruning, at each learning rate: some early epoch's weights beat θ0's, by any amount. Which
    epoch, is chosen by other seeds (relations.relate_chosen)."""
    scale = results.scale
    table = results.network(scale.recipe.epochs)
    planned: dict[tuple[str, float, float], set[int]] = {}
    for trial in results.planned("appendix-d"):
        if trial.setting.startswith("WR-"):
            key = (trial.setting.removeprefix("WR-"), trial.sparsity, trial.run.recipe.lr)
            assert isinstance(trial.run.init, Rewind), "WR rewinds"
            planned.setdefault(key, set()).add(trial.run.init.epoch)
    parts = []
    for (label, s, lr), epochs in planned.items():
        rewound = rows(table, s, setting=f"WR-{label}")
        named = rewound.assign(setting=[_from(label, t) for t in rewound["rewind"]])
        ours = side(named, *(_from(label, t) for t in sorted(epochs)), lrs=(lr,))
        theirs = side(results.network(scale.recipe.epochs, s), f"LT-{label}", lrs=(lr,))
        about = results.about(scale.recipe.epochs, s, lr=lr)
        parts.append(relate_chosen(ours, theirs, about, f"WR-{label} − LT-{label}"))
    return Outcome(CLAIMS[11], tuple(parts), ranges(parts), "")


def _from(label: str, epoch: float) -> str:
    return f"WR-{label} from epoch {epoch:g}"


def claim_13(results: Results) -> Outcome:
    """For each pretraining learning rate: LT-IMP at some other one, chosen by other seeds, is better, by any
    amount.

    "Slightly" is not judged; the numbers say how much.
    """
    table = rows(results.table, setting="LT-IMP", **results.about(results.scale.recipe.epochs))
    if "digest" in table:
        table = table.drop_duplicates(["setting", "sparsity", "digest"])
    planned: dict[tuple[float, float], set[float]] = {}
    for trial in results.planned("table4"):
        if trial.setting == "LT-IMP":
            key = (trial.sparsity, trial.run.mask.after.recipe.lr)
            planned.setdefault(key, set()).add(trial.run.recipe.lr)
    parts = [_mixed(results, table, *key, rates) for key, rates in planned.items()]
    return Outcome(CLAIMS[12], tuple(parts), ranges(parts), "")


def _mixed(results: Results, table: pd.DataFrame, s: float, pretraining_lr: float, rates: set[float]) -> Part:
    """rates: those planned for the subnetwork."""
    there = rows(table, s, pretraining_lr=pretraining_lr)
    same = side(there, "LT-IMP", lrs=(pretraining_lr,))
    other = side(there, "LT-IMP", lrs=tuple(sorted(rates - {pretraining_lr})))
    about = results.about(results.scale.recipe.epochs, s, lr=pretraining_lr)
    label = f"LT-IMP, other rates − the same, masks from {pretraining_lr:g}"
    return relate_chosen(other, same, about, label)
