"""What Figure 6 shows, as one tidy table: R_p of runs in the store, by pair of weights, p and layer."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd

from lthpaper.measures.correlation import chance_band, overlap, overlap_by_layer, overlap_within_layers
from lthpaper.measures.distance import travelled
from lthpaper.paper import FIGURE6
from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, lt_imp, random_reinit
from lthpaper.store.entry import MASK, WEIGHTS
from lthpaper.store.measurements import key_of, measured
from lthpaper.store.store import Result, Store
from lthpaper.store.table import described, mask_diverged, reader
from lthpaper.training.result import Weights
from lthpaper.training.start import initial_weights

MEASUREMENT = "overlap"  # the name that it is kept under
ROUNDS, MAIN = FIGURE6.rounds, FIGURE6.share  # s = 0.832, p = 0.1

SHARES = (MAIN / 2, MAIN, 2 * MAIN)

PAIRS = ("θ0, θT", "θ0′, θT")

WITHIN, TOGETHER = "within layers", "layers together"

COLUMNS = [
    *("network", "data", "sparsity", "lr", "seed", "pair", "p", "pooled", "layer", "depth"),
    *("overlap", "low", "high", "survivors", "distance", "digest"),
]


def measure(
    trials: Iterable[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """One row per run, pair of weights, p and way of pooling, in the columns COLUMNS.

    pooled "within layers": the top p of each layer, counts summed (claim 10 reads this); "layers
    together": all positions ranked at once; "": one layer by itself, `layer` its name and `depth` its
    place. low, high: the band that holds 95 % of R_p by chance (NaN for "layers together", whose null is
    not known). overlap is NaN for runs that are not there, and where a run that θT or the mask comes
    from diverged; survivors is NaN in the first case only. distance: ‖θT − θ0‖ / ‖θ0‖ of the pretraining
    (distance.py), NaN where it was never measured and the weights are not there.
    """
    results = reader(store)
    tables = [_measured(trial, store, results) for trial in trials]
    return (
        pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)
        if tables
        else pd.DataFrame(columns=COLUMNS)
    )


def is_measured(run: Run, store: Store, scale: Scale) -> bool:
    """Whether `measure` would find the overlaps of a subnetwork, or of a pretrained network with its
    subnetwork, kept, or none where training diverged."""
    subnetwork = run if run.mask else lt_imp(run, ROUNDS)
    dense = subnetwork.with_(mask=None)
    if subnetwork not in store or dense not in store:
        return False
    if mask_diverged(subnetwork, reader(store)):
        return True
    key = _key(store.get(subnetwork), store.get(dense))
    return store.measurement(subnetwork, MEASUREMENT, key) is not None


def _key(subnetwork: Result, dense: Result) -> str:
    """A hash of what the overlaps depend on: θT, the mask and p."""
    return key_of(dense.files.get(WEIGHTS, ""), subnetwork.files.get(MASK, ""), SHARES)


def _measured(trial: Trial, store: Store, results: Callable[[Run], Result | None]) -> pd.DataFrame:
    run = trial.run
    dense = run.with_(mask=None)
    about = described(run) | {"sparsity": trial.sparsity}
    ours, theirs = results(run), results(dense)
    if ours is not None and theirs is not None and mask_diverged(run, results):
        both = itertools.product(PAIRS, SHARES)
        rows = [{"pair": pair, "p": p, "pooled": WITHIN, "survivors": ours.kept} for pair, p in both]
        return pd.DataFrame(rows).assign(**about, distance=math.nan)
    found = None
    if ours is not None and theirs is not None:
        key = _key(ours, theirs)
        found = measured(store, run, MEASUREMENT, key, lambda: _work_out(run, dense, store))
    if found is None:
        found = pd.DataFrame([{"pair": pair, "p": MAIN, "pooled": WITHIN} for pair in PAIRS])
    return found.assign(**about, distance=travelled(dense, store))


def _work_out(run: Run, dense: Run, store: Store) -> pd.DataFrame | None:
    """One row per pair, p and way of pooling; None where weights or the mask were left out."""
    if not (store.has_weights(run) and store.has_weights(dense)):
        return None
    trained, mask = store.weights(dense)[0], store.weights(run)[1]
    if mask is None:
        return None
    rows = [
        {"pair": pair, "p": p} | row
        for pair, start in zip(PAIRS, (dense, random_reinit(dense)), strict=True)
        for p in SHARES
        for row in _overlaps(initial_weights(start), trained, mask, p, run.task.prunable_weights)
    ]
    return pd.DataFrame(rows)


def _overlaps(
    start: Weights, trained: Weights, mask: Mask, p: float, layers: Iterable[str]
) -> Iterator[dict[str, object]]:
    """layers: names in the network's order; a mask read from a file may hold them in any."""
    kept = {name: int(m.sum()) for name, m in mask.items()}
    total = sum(kept.values())
    low, high = chance_band(kept.values(), p)
    pooled = overlap_within_layers(start, trained, mask, p)
    yield {"pooled": WITHIN, "overlap": pooled, "low": low, "high": high, "survivors": total}
    yield {"pooled": TOGETHER, "overlap": overlap(start, trained, mask, p), "survivors": total}
    by_layer = overlap_by_layer(start, trained, mask, p)
    for depth, name in enumerate(layers):
        if name in by_layer:
            low, high = chance_band(kept[name], p)
            row = {"layer": name, "depth": depth, "overlap": by_layer[name], "low": low, "high": high}
            yield row | {"pooled": "", "survivors": kept[name]}
