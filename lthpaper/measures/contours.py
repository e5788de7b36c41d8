"""What Figures 4 and 5 show, as one tidy table: loss surfaces, and the trajectories that lie on them."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lthpaper import data
from lthpaper.measures.planes import Plane, Sample, moving_weights, trajectory_plane, window
from lthpaper.measures.ruggedness import basin_area, basin_share, non_convexity, roughness
from lthpaper.measures.surfaces import Evaluator, kept, losses, sample, surface
from lthpaper.networks import skeleton
from lthpaper.runs.experiments import PANELS, snapshots
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store

WITHIN = 0.5  # nats above the minimum: the basin

COLUMNS = [
    *("kind", "panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy", "x", "y", "loss"),
    *("epoch", "distance", "off_plane", "explained_x", "explained_y", "images", "fingerprint", "digest"),
]

RUN = ["panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy"]
NUMBERS = [*RUN, "minimum", "basin", "basin_area", "roughness", "non_convexity", "off_plane"]


def measure(
    trials: Iterable[Trial],
    store: Store,
    scale: Scale,
    data_root: str | Path | None = None,
    device: str | None = None,
) -> pd.DataFrame:
    """Long-form, in the columns COLUMNS; the expensive losses are kept in the store's folder.

    kind "surface": a grid point; "trajectory": a snapshot's projection, with its epoch, its distance from
    θT and off the plane; "missing": a run that is not there, or diverged. loss: mean cross-entropy in
    nats over the scale's `surface_images` training images, or all where there are fewer. explained_x,
    explained_y: shares of the trajectory's variance.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    tables = [_measured(t, store, scale, data_root, device) for t in trials]
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)


def _measured(trial: Trial, store: Store, scale: Scale, root: str | Path | None, device: str) -> pd.DataFrame:
    run = trial.run
    about = {
        "panel": PANELS.get((trial.setting, run.recipe.lr), ""),
        "setting": trial.setting,
        "network": run.task.network,
        "data": run.task.data,
        "sparsity": trial.sparsity,
        "lr": run.recipe.lr,
        "seed": run.seed,
        "accuracy": store.get(run).accuracy if run in store else np.nan,
        "digest": run.digest,
    }
    prepared = _prepared(run, store, scale, root)
    if prepared is None:
        return pd.DataFrame([about | {"kind": "missing"}])
    plane, chosen, key = prepared
    x, y = window(plane, scale.surface_points)
    evaluate = Evaluator(run.task, plane, chosen, device)
    on_grid, on_line = _files(run, store, key)
    grid = surface(evaluate, x, y, on_grid, key=key, quiet=None)
    along = losses(evaluate, plane.coordinates, on_line, key, quiet=True)
    gx, gy = np.meshgrid(x, y)
    about |= {
        "explained_x": plane.explained[0],
        "explained_y": plane.explained[1],
        "images": len(chosen.labels),
        "fingerprint": chosen.fingerprint,
    }
    seen = {"kind": "surface", "x": gx.ravel(), "y": gy.ravel(), "loss": grid.loss.ravel()}
    passed = {
        "kind": "trajectory",
        "x": plane.coordinates[:, 0],
        "y": plane.coordinates[:, 1],
        "loss": along,
        "epoch": snapshots(run),
        "distance": plane.distance,
        "off_plane": plane.off_plane,
    }
    return pd.concat([pd.DataFrame(about | part) for part in (seen, passed)], ignore_index=True)


def _prepared(
    run: Run, store: Store, scale: Scale, root: str | Path | None
) -> tuple[Plane, Sample, str] | None:
    """(the plane, the images behind each loss, the key that losses are kept under); None as of `_plane`."""
    plane = _plane(run, store)
    if plane is None:
        return None
    chosen = sample(data.load(run.task.data, root, run.task.train_images), scale.surface_images)
    return plane, chosen, _key(run, plane, scale.surface_points, chosen)


def _key(run: Run, plane: Plane, points: int, chosen: Sample) -> str:
    about = (run.digest, plane.names, plane.coordinates.tolist(), points, chosen.fingerprint)
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _files(run: Run, store: Store, key: str) -> tuple[Path, Path]:
    """Where the losses of the grid and of the trajectory are kept."""
    folder = store.folder / "surfaces"
    return folder / f"{run.digest}-{key}.npz", folder / f"{run.digest}-{key}-line.npz"


def is_kept(trial: Trial, store: Store, scale: Scale, data_root: str | Path | None = None) -> bool:
    """Whether `measure` would find every loss of this trial kept, and compute none."""
    run = trial.run
    if not any((store.folder / "surfaces").glob(f"{run.digest}-*.npz")):
        return False
    if (prepared := _prepared(run, store, scale, data_root)) is None:
        return False
    *_, key = prepared
    return all(_complete(file, key) for file in _files(run, store, key))


def _complete(file: Path, key: str) -> bool:
    found = kept(file)
    return found is not None and str(found["key"]) == key and bool(found["done"].all())


def _plane(run: Run, store: Store) -> Plane | None:
    """None if the run or a snapshot is missing, or the run diverged."""
    epochs = snapshots(run)
    if not store.holds(run, set(epochs)):
        return None
    found = [store.weights(run, epoch) for epoch in epochs]
    weights, mask = [w for w, _ in found], found[-1][1]
    parameters = [name for name, _ in skeleton(**run.task.shape).named_parameters()]
    if not all(w[n].isfinite().all() for w in weights for n in parameters):
        return None
    return trajectory_plane(weights, moving_weights(weights[-1], parameters), mask)


def grids(measured: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]]:
    """(the run's rows, x, y, loss (len(y), len(x))) of every run that was measured."""
    for _, rows in measured[measured["kind"] != "missing"].groupby("digest", sort=False):
        square = rows[rows["kind"] == "surface"].pivot(index="y", columns="x", values="loss")
        yield rows, square.columns.to_numpy(), square.index.to_numpy(), square.to_numpy()


def numbers(measured: pd.DataFrame, within: float = WITHIN) -> pd.DataFrame:
    """One row a run: how large its basin, how rough and how far from convex its surface (ruggedness.py).

    basin: share of the window within `within` nats of its minimum; basin_area: the same in squared
    weight units; off_plane: root of the trajectory's squared distance that lies off the plane, as a share.
    """
    found = []
    for rows, x, y, loss in grids(measured):
        path = rows[rows["kind"] == "trajectory"]
        found.append(
            rows.iloc[0][RUN].to_dict()
            | {
                "minimum": np.nanmin(loss),
                "basin": basin_share(loss, within),
                "basin_area": basin_area(loss, x, y, within),
                "roughness": roughness(loss),
                "non_convexity": non_convexity(loss),
                "off_plane": np.sqrt((path["off_plane"] ** 2).sum() / (path["distance"] ** 2).sum()),
            }
        )
    return pd.DataFrame(found, columns=NUMBERS)
