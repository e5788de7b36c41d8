"""How far training moves the weights: ‖θT − θ0‖ / ‖θ0‖ over the prunable weights.

R_p(θ0, θT) stays high wherever training has hardly moved the weights, whatever they have learnt: a short
training, or a small learning rate, keeps the large weights large. So R_p is to be read beside this distance
(Figure 6).
"""

import math
from collections.abc import Iterable

import pandas as pd

from lthpaper.errors import InputError, require
from lthpaper.runs.run import Run
from lthpaper.store.entry import WEIGHTS
from lthpaper.store.measurements import key_of, measured
from lthpaper.store.store import Store
from lthpaper.training.result import Weights
from lthpaper.training.start import initial_weights

MEASUREMENT = "distance"  # the name that it is kept under


def distance(start: Weights, end: Weights, names: Iterable[str] | None = None) -> float:
    """‖end − start‖ / ‖start‖ over the tensors of these names (None: all of `start`), a float from 0.

    NaN if a weight of `end` is not finite. Raises InputError for a name or a shape that one of the two lacks,
    and where ‖start‖ is 0.
    """
    moved = length = 0.0
    for name in start if names is None else names:
        if name not in start or name not in end or start[name].shape != end[name].shape:
            raise InputError(
                f"The distance compares {name}, which one of the two lacks, or has in another shape."
            )
        a, b = (weights[name].detach().cpu().double() for weights in (start, end))
        moved += float((b - a).square().sum())
        length += float(a.square().sum())
    require(
        length > 0, "The distance is in units of ‖θ0‖, which is 0 here: no weight was given that is not 0."
    )
    return math.sqrt(moved / length) if math.isfinite(moved) else math.nan


def travelled(dense: Run, store: Store) -> float:
    """The distance of a trained dense run from its θ0, kept or measured; NaN where neither can be: the run is
    not there or diverged, or its weights were left out."""
    if dense not in store:
        return math.nan
    key = key_of(store.get(dense).files.get(WEIGHTS, ""))
    found = measured(store, dense, MEASUREMENT, key, lambda: _work_out(dense, store))
    return math.nan if found is None else float(found["distance"].iloc[0])


def _work_out(dense: Run, store: Store) -> pd.DataFrame | None:
    if not store.has_weights(dense):
        return None
    trained = store.weights(dense)[0]
    return pd.DataFrame(
        {"distance": [distance(initial_weights(dense), trained, dense.task.prunable_weights)]}
    )
