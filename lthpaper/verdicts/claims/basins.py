"""Claim 14: IMP's loss contours against OMP's, by the numbers of `measures.ruggedness` (Figures 4, 5)."""

from dataclasses import replace

import pandas as pd

from lthpaper.paper import CLAIMS
from lthpaper.runs.settings import MASKS
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.characteristics import characteristics
from lthpaper.verdicts.claims.outcome import Outcome, ranges
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.relations import ABOVE, BELOW, LIKE, Part, relate, rows
from lthpaper.verdicts.uncertainty import Cell

MEASURES = {"basin_relative": ABOVE, "roughness": BELOW, "non_convexity": BELOW}  # IMP's less OMP's
NAMES = {"basin_relative": "basin's area", "non_convexity": "non-convexity"}
LITTLE = 0.25  # "little difference": of the two's mean (ours; the text shows pictures alone)
UNIT = 100.0  # values are percent of the two's mean


def claim_14(results: Results) -> Outcome:
    """With batch-norm, weights times c compute the same function, and their basin's area is c² as large. So
    areas are in squares of side ‖θT‖, run by run; roughness and non-convexity have no units.

    Residual connections: IMP's basin larger, its surface less rough and nearer to convex, at each
    learning rate. None: each differs by at most a quarter. Every panel of the scale's is a part."""
    table = results.contours
    if table.empty:
        return Outcome(CLAIMS[13], note="The surfaces of Figures 4 and 5 were not evaluated.")
    planned = dict.fromkeys(
        (trial.run.task.network, trial.run.task.data, trial.sparsity, trial.run.recipe.lr)
        for figure in ("fig4", "fig5")
        for trial in results.planned(figure)
    )
    parts = [
        _part(rows(table, s, network=network, data=data, lr=lr), network, data, s, lr, measure)
        for network, data, s, lr in planned
        for measure in MEASURES
    ]
    return Outcome(
        CLAIMS[13], tuple(parts), f"IMP − OMP, percent of their mean; {ranges(parts)}", "pictures alone"
    )


def _part(there: pd.DataFrame, network: str, data: str, s: float, lr: float, measure: str) -> Part:
    residual = characteristics(network, data).residual
    mean = there.groupby("setting")[measure].mean().mean()
    unit = UNIT / mean if mean > 0 else 1.0
    imp, omp = (_side(there[there["setting"] == f"LT-{label}"], label, lr, measure, unit) for label in MASKS)
    relation = MEASURES[measure] if residual else LIKE
    margin = 0.0 if residual else LITTLE * UNIT
    about = {"network": network, "data": data, "sparsity": s, "lr": lr}
    kind = "residual" if residual else "no residual"
    name = NAMES.get(measure, measure)
    part = relate(imp, relation, omp, margin, about, f"{name}, {kind}")
    return replace(part, sentence=f"{name.capitalize()} in percent of the two's mean. {part.sentence}")


def _side(there: pd.DataFrame, label: str, lr: float, measure: str, unit: float) -> Side:
    values = tuple(float(v) * unit for v in there[measure].dropna())
    return Side(label, (Cell(label, lr, values),) if values else (), (), () if values else ((label, lr),))
