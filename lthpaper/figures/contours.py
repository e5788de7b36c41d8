"""What Figures 4 and 5 share: four subnetworks, their surfaces as one tidy table, and the four panels."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from lthpaper import data
from lthpaper.figures.style import PAGE, paper_style, percent
from lthpaper.measures.planes import Plane, Sample, moving_weights, trajectory_plane, window
from lthpaper.measures.ruggedness import basin_area, basin_share, non_convexity, roughness
from lthpaper.measures.surfaces import Evaluator, kept, losses, sample, surface
from lthpaper.networks import skeleton
from lthpaper.paper import SPARSITIES
from lthpaper.runs.run import Run, Task
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, imp_sparsity, lt_imp, lt_omp, pretraining
from lthpaper.store.store import Store

ROUNDS = SPARSITIES[0.945]
RATES = (0.01, 0.1)
PANELS = {("LT-IMP", 0.01): "a", ("LT-IMP", 0.1): "b", ("LT-OMP", 0.01): "c", ("LT-OMP", 0.1): "d"}
SNAPSHOTS = 20  # steps along a trajectory
WITHIN = 0.5  # nats above the minimum: the basin
PATH, OFF = "#D55E00", "#7F2A00"  # orange stands out on every shade of cividis
COLUMNS = [
    *("kind", "panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy", "x", "y", "loss"),
    *("epoch", "distance", "off_plane", "explained_x", "explained_y", "images", "fingerprint", "digest"),
]


def task(scale: Scale, residual: bool) -> Task:
    """The scale's network of these figures, ResNet-32 in the paper, with or without residual connections."""
    name = scale.contour_network
    return scale.task.with_(network=name if residual else f"{name}-noskip")


def trials(scale: Scale, residual: bool) -> list[Trial]:
    """The four panels' subnetworks, for every seed; panels show seed 0's, numbers are over all."""
    found, s = [], imp_sparsity(ROUNDS)
    for seed in range(scale.seeds):
        for lr in RATES:
            dense = pretraining(task(scale, residual), scale.recipe.with_(lr=lr), seed)
            found.append(Trial("LT-IMP", s, lt_imp(dense, ROUNDS)))
            found.append(Trial("LT-OMP", s, lt_omp(dense, s)))
    return sorted(found, key=lambda t: (t.run.seed, PANELS[t.setting, t.run.recipe.lr]))


def snapshots(run: Run) -> list[int]:
    """Epochs along a trajectory: the start, every twentieth of the training, the end."""
    first, last = run.first_epoch, run.recipe.epochs
    step = max(1, round((last - first) / SNAPSHOTS))
    return [*range(first, last, step), last]


def keep(scale: Scale, residual: bool) -> dict[Run, frozenset[int]]:
    """The snapshots that the trajectories need; the end is kept anyway."""
    return {t.run: frozenset(snapshots(t.run)[:-1]) for t in trials(scale, residual)}


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
            rows.iloc[0][
                ["panel", "setting", "network", "data", "sparsity", "lr", "seed", "accuracy"]
            ].to_dict()
            | {
                "minimum": np.nanmin(loss),
                "basin": basin_share(loss, within),
                "basin_area": basin_area(loss, x, y, within),
                "roughness": roughness(loss),
                "non_convexity": non_convexity(loss),
                "off_plane": np.sqrt((path["off_plane"] ** 2).sum() / (path["distance"] ** 2).sum()),
            }
        )
    return pd.DataFrame(found)


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """Four panels, shared levels: contours of the loss, and the way from θ0 ⊙ m to θT of seed 0."""
    first = measured[measured["seed"] == measured["seed"].min()]
    levels = _levels(first)
    summary = numbers(measured)
    with paper_style(), plt.rc_context({"axes.grid": False}):
        fig, axes = plt.subplots(2, 2, figsize=(PAGE, 6.6), layout="constrained")
        for ax, ((setting, lr), letter) in zip(axes.flat, PANELS.items(), strict=True):
            rows = first[(first["setting"] == setting) & (first["lr"] == lr)]
            accuracy = rows["accuracy"].iloc[0] if len(rows) else np.nan
            ax.set_title(f"({letter}) {setting[3:]}, lr {lr:g}, accuracy {accuracy:.1f} %")
            shown = [_panel(ax, *part, levels) for part in grids(rows)]
            if not shown:
                ax.set_title(f"({letter}) {setting[3:]}, lr {lr:g}")
                ax.text(0.5, 0.5, "not trained yet, or diverged", ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
            else:
                of_panel = summary[(summary["setting"] == setting) & (summary["lr"] == lr)]
                ax.set_xlabel(f"{ax.get_xlabel()}\n{_note(of_panel)}")
                filled = shown[0]
        if len(summary):
            bar = fig.colorbar(filled, ax=axes, shrink=0.7, aspect=35, label="training loss (nats)")
            bar.set_ticks(levels[::4], labels=_distinct(levels[::4]))
            bar.minorticks_off()
            _describe(fig, measured)
    return fig


def _levels(measured: pd.DataFrame) -> np.ndarray:
    """Twenty equal factors, from the smallest loss drawn to half as much again as a trajectory's largest."""
    drawn = measured["loss"].dropna()
    passed = measured.loc[measured["kind"] == "trajectory", "loss"].dropna()
    if drawn.empty:
        return np.geomspace(0.1, 10, 21)
    low = max(float(drawn.min()), 1e-2)
    high = min(float(drawn.max()), 1.5 * float(passed.max()))
    return np.geomspace(low, max(high, 1.01 * low), 21)


def _distinct(values: np.ndarray) -> list[str]:
    """The values with three significant digits, or as many more as tell them apart."""
    for digits in range(3, 8):
        labels = [f"{v:#.{digits}g}".rstrip(".") for v in values]
        if len(set(labels)) == len(labels):
            break
    return labels


def _panel(
    ax: Axes, rows: pd.DataFrame, x: np.ndarray, y: np.ndarray, loss: np.ndarray, levels: np.ndarray
) -> QuadContourSet:
    capped = np.where(np.isfinite(loss), loss, levels[-1] * 10)
    norm = LogNorm(levels[0], levels[-1])
    filled = ax.contourf(x, y, capped, levels=levels, norm=norm, cmap="cividis", extend="both")
    marked = levels[::2]
    colours = ["white" if i < len(marked) / 2 else "black" for i in range(len(marked))]  # on dark, on light
    lines = ax.contour(x, y, capped, marked, colors=colours, linewidths=0.4, alpha=0.8)
    labels = dict(zip(levels[::4], _distinct(levels[::4]), strict=True))
    ax.clabel(lines, levels[::4], fmt=labels, fontsize=5.5)
    path = rows[rows["kind"] == "trajectory"].sort_values("epoch")
    discs = [Circle((r.x, r.y), r.off_plane) for r in path.itertuples()]
    ax.add_collection(PatchCollection(discs, facecolor="none", edgecolor=OFF, linewidth=0.5, alpha=0.8))
    ax.plot(path["x"], path["y"], "-o", color=PATH, markersize=2.5, linewidth=1.2)
    ends = path.iloc[[0, -1]]
    for (_, end), marker, size in zip(ends.iterrows(), ("s", "*"), (5, 10), strict=True):
        ax.plot(end["x"], end["y"], marker, color=PATH, markeredgecolor="white", markersize=size)
    ax.set(aspect="equal", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.set_xlabel(f"PC 1 ({100 * rows['explained_x'].iloc[0]:.1f} % of variance)")
    ax.set_ylabel(f"PC 2 ({100 * rows['explained_y'].iloc[0]:.1f} %)")
    return filled


def _note(summary: pd.DataFrame) -> str:
    mean = summary[["basin", "roughness", "non_convexity"]].mean()
    return (
        f"basin {100 * mean['basin']:.0f} %, roughness {mean['roughness']:.2f}, "
        f"non-convex {100 * mean['non_convexity']:.0f} %"
    )


def _describe(fig: Figure, measured: pd.DataFrame) -> None:
    row = measured[measured["kind"] == "trajectory"].iloc[0]
    seeds = measured["seed"].nunique()
    fig.suptitle(
        f"{row['network']} on {row['data']}, sparsity {percent(row['sparsity'])}: loss on "
        f"{row['images']:.0f} training images\nbasin: area within {WITHIN:g} nats of the minimum"
        + (f"; numbers are means of {seeds} seeds, contours seed {row['seed']}" if seeds > 1 else ""),
        fontsize=8,
    )
    look = {"color": PATH, "markeredgecolor": "white"}
    marks = [
        Line2D([], [], marker="s", linestyle="", markersize=5, label="start, θ0 ⊙ m", **look),
        Line2D([], [], marker="*", linestyle="", markersize=10, label="end, θT", **look),
        Line2D([], [], marker="o", markersize=2.5, color=PATH, label="snapshots, projected"),
        Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=OFF,
            label="radius: distance off the plane",
        ),
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=4)
