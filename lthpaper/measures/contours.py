"""What Figures 4 and 5 show, as one tidy table: loss surfaces, and the trajectories that lie on them."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lthpaper import data, locations
from lthpaper.errors import require
from lthpaper.measures.planes import Plane, filter_lengths, moving_weights, trajectory_plane
from lthpaper.measures.ruggedness import basin_area, basin_share, non_convexity, roughness
from lthpaper.measures.surfaces import Evaluator, losses, sample, sample_name, surface
from lthpaper.runs.experiments import PANELS, snapshots
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.entry import WEIGHTS
from lthpaper.store.measurements import key_of, measured
from lthpaper.store.store import Store
from lthpaper.store.table import described

WITHIN = 0.5  # nats above the minimum: the basin
HALF = 1.0  # half the window's side, in ‖θT‖: trajectories start at 0.5 to 0.9
MEASUREMENT = "surface"  # the name that it is kept under
SINGLE = ("x", "y", "loss", "distance", "off_plane")  # its columns that are kept in single precision

COLUMNS = [
    *("kind", "panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy", "x", "y", "loss"),
    *("epoch", "distance", "off_plane", "norm", "explained_x", "explained_y", "filter_x", "filter_y"),
    *("images", "fingerprint", "digest"),
]

RUN = ["panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy"]
NUMBERS = [
    *(*RUN, "minimum", "basin", "basin_area", "basin_relative", "basin_by_filter"),
    *("roughness", "non_convexity", "off_plane"),
]


def measure(
    trials: Iterable[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """Long-form, in the columns COLUMNS; the store keeps what is worked out of the weights.

    kind "surface": a grid point; "trajectory": a snapshot's projection, with its epoch, its distance from
    θT and off the plane, in weight units like x and y; "missing": a run that is not there, or diverged.
    norm: ‖θT‖ of the weights that move. loss: mean cross-entropy in nats over
    the scale's `surface_images` training images, or all where there are fewer. explained_x, explained_y:
    shares of the trajectory's variance. filter_x, filter_y: how far one unit of x and of y moves a filter, in
    its own norms (`planes.filter_lengths`); NaN in results that were published before these were kept.
    """
    tables = [_measured(t, store, scale, data_root) for t in trials]
    return pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS)


def _measured(trial: Trial, store: Store, scale: Scale, root: str | Path | None) -> pd.DataFrame:
    run = trial.run
    about = described(run) | {
        "panel": PANELS.get((trial.setting, run.recipe.lr), ""),
        "setting": trial.setting,
        "sparsity": trial.sparsity,
        "accuracy": store.get(run).accuracy if run in store else np.nan,
    }
    found = None
    if run in store:
        key = _key(run, store, scale)
        so_far = store.folder / "surfaces" / f"{run.digest}-{key}.npz"

        def work_out() -> pd.DataFrame | None:
            return _surface(run, store, scale, root, key, so_far)

        found = measured(store, run, MEASUREMENT, key, work_out)
        so_far.unlink(missing_ok=True)
    if found is None:
        return pd.DataFrame([about | {"kind": "missing"}])
    return found.astype(dict.fromkeys(SINGLE, float)).assign(**about)


def is_measured(run: Run, store: Store, scale: Scale) -> bool:
    """Whether `measure` would find this run's surface and trajectory kept, or none of a run that diverged."""
    if run not in store:
        return False
    return (
        math.isnan(store.get(run).accuracy)
        or store.measurement(run, MEASUREMENT, _key(run, store, scale)) is not None
    )


def _key(run: Run, store: Store, scale: Scale) -> str:
    """A hash of what the losses depend on: the bits of the training, snapshots, grid and images."""
    result = store.get(run)
    images = sample_name(result.fingerprint, run.task.images, scale.surface_images)
    parts = (result.files.get(WEIGHTS, ""), snapshots(run), HALF, scale.surface_points, images)
    refined = [scale.surface_error] if scale.surface_error else []  # a whole surface's key has no such part
    return key_of(*parts, *refined)


def _surface(
    run: Run, store: Store, scale: Scale, root: str | Path | None, key: str, so_far: Path
) -> pd.DataFrame | None:
    """The losses on the grid and along the trajectory; None as of `_plane`. so_far: the file in which the
    grid's losses are kept on the way."""
    plane = _plane(run, store)
    if plane is None:
        return None
    images = data.load(run.task.data, root, *run.task.division)
    trained_on = store.get(run).fingerprint
    require(
        images.fingerprint == trained_on,
        f"{run} was trained on another copy of {run.task.data} (fingerprint {trained_on}; the one at hand is "
        f"{images.fingerprint}): its loss surface is that of its own images. Bring that copy back.",
    )
    chosen = sample(images, scale.surface_images)
    norm = float(sum((plane.origin[n].double() ** 2).sum() for n in plane.names) ** 0.5)  # ‖θT‖, what moves
    x = y = norm * np.linspace(-HALF, HALF, scale.surface_points)
    evaluate = Evaluator(run.task, plane, chosen, locations.device())
    grid = surface(evaluate, x, y, so_far, scale.surface_error, key=key, quiet=None)
    along = losses(evaluate, plane.coordinates, quiet=True)
    gx, gy = np.meshgrid(x, y)
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
    both = pd.concat([pd.DataFrame(part) for part in (seen, passed)], ignore_index=True)
    filter_x, filter_y = filter_lengths(plane)
    return both.astype(dict.fromkeys(SINGLE, np.float32)).assign(
        norm=norm,
        filter_x=filter_x,
        filter_y=filter_y,
        explained_x=plane.explained[0],
        explained_y=plane.explained[1],
        images=len(chosen.labels),
        fingerprint=chosen.fingerprint,
    )


def _plane(run: Run, store: Store) -> Plane | None:
    """None if the run or a snapshot is missing, or the run diverged."""
    epochs = snapshots(run)
    if not store.holds(run, set(epochs)):
        return None
    found = [store.weights(run, epoch) for epoch in epochs]
    weights, mask = [w for w, _ in found], found[-1][1]
    parameters = run.task.parameter_names
    if not all(w[n].isfinite().all() for w in weights for n in parameters):
        return None
    return trajectory_plane(weights, moving_weights(weights[-1], parameters), mask)


def grids(measured: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]]:
    """(the run's rows, x, y, loss (len(y), len(x))) of every run that was measured."""
    for _, rows in measured[measured["kind"] != "missing"].groupby("digest", sort=False):
        square = rows[rows["kind"] == "surface"].pivot(index="y", columns="x", values="loss")
        yield rows, square.columns.to_numpy(), square.index.to_numpy(), square.to_numpy()


def numbers(measured: pd.DataFrame, within: float = WITHIN) -> pd.DataFrame:
    """One row per run: how large its basin, how rough and how far from convex its surface (ruggedness.py).

    basin: share of the window within `within` nats of its minimum; basin_area: the same in squared
    weight units; basin_relative: in squares of side ‖θT‖, comparable between networks; basin_by_filter: in
    units that move a filter by its own norm, so that a layer's scale cancels too; off_plane: root of the
    trajectory's squared distance that lies off the plane, as a share.
    """
    found = []
    for rows, x, y, loss in grids(measured):
        path, about = rows[rows["kind"] == "trajectory"], rows.iloc[0]
        area = basin_area(loss, x, y, within)
        found.append(
            about[RUN].to_dict()
            | {
                "minimum": np.nanmin(loss),
                "basin": basin_share(loss, within),
                "basin_area": area,
                "basin_relative": area / about["norm"] ** 2,
                "basin_by_filter": area * about["filter_x"] * about["filter_y"],
                "roughness": roughness(loss),
                "non_convexity": non_convexity(loss),
                "off_plane": np.sqrt((path["off_plane"] ** 2).sum() / (path["distance"] ** 2).sum()),
            }
        )
    return pd.DataFrame(found, columns=NUMBERS)
