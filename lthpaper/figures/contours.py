"""What Figures 4 and 5 share: four subnetworks, their surfaces as one tidy table, and the four panels.

Lengths are drawn relative to ‖θT‖, the norm of the weights that move: scaling all weights of a network with
batch-norm changes neither its function nor its picture. One window, θT in its middle, and one scale of the
loss for both figures, so that every panel can be compared with every other.
"""

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, to_hex
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec
from lthpaper.figures.means import plus_minus
from lthpaper.figures.style import MASKED, PAGE, PALE, THETA0, THETA_T, as_written, paper_style
from lthpaper.measures.contours import HALF, MEASUREMENT, WITHIN, grids, is_measured, measure, numbers
from lthpaper.runs import experiments
from lthpaper.runs.experiments import PANELS
from lthpaper.runs.scales import Scale

RIM = 10.0  # nats; the still shows what lies below
LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # nats
# inches: a panel's side, what stands beside it, from row to row, below the last row, left of a panel
SIDE, BESIDE, DOWN, FOOT, LEFT, HEIGHT = 1.52, 0.46, 2.0, 1.12, 0.42, 5.3
LABELLED, ROOM = 1.0, 0.12  # nats: smaller levels would crowd; ‖θT‖: around a label
PATH, OFF = "#F4801F", "#8A3B00"  # orange stands out on every shade of mako


def spec(title: str, residual: bool) -> FigureSpec:
    """Figure 4, or 5 without residual connections."""
    return FigureSpec(
        title,
        partial(experiments.contours, residual=residual),
        plot,
        partial(experiments.contour_snapshots, residual=residual),
        measure=measure,
        measurement=MEASUREMENT,
        is_measured=is_measured,
    )


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """Four panels: contours of the loss around θT, and the way there of the first seed; right of each, its
    numbers over all seeds, and how far that way lies off the plane."""
    there, summary = measured[measured["kind"] != "missing"], numbers(measured)
    with paper_style(), plt.rc_context({"axes.grid": False, "figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(PAGE, HEIGHT))
        filled = None
        places = [(LEFT + PAGE / 2 * (i % 2), FOOT + DOWN * (1 - i // 2)) for i in range(len(PANELS))]
        panels = [_axes(fig, *place, SIDE, SIDE) for place in places]
        for ax, (left, foot), ((setting, lr), letter) in zip(panels, places, PANELS.items(), strict=True):
            ax.set_title(f"({letter}) {setting[3:]}, learning rate {lr:g}", loc="left")
            rows, found = (
                table[(table["setting"] == setting) & (table["lr"] == lr)] for table in (there, summary)
            )
            if found.empty:
                ax.text(0.5, 0.5, "not trained yet,\nor diverged", ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
                continue
            for part in grids(rows[rows["seed"] == rows["seed"].min()]):
                filled = _panel(ax, *part)
                _strip(_axes(fig, left + SIDE + 0.1, foot, BESIDE, 0.3), part[0])
            ax.text(1.06, 1, _said(found), transform=ax.transAxes, va="top", fontsize=6, linespacing=1.25)
        if filled is not None:
            bar = fig.colorbar(filled, cax=_axes(fig, 1.25, 0.62, 3.0, 0.07), orientation="horizontal")
            bar.set_label("training loss (nats)")
            bar.set_ticks(LEVELS, labels=[f"{v:g}" for v in LEVELS])
            bar.minorticks_off()
            _describe(fig, measured, summary, scale)
    return fig


def _axes(fig: Figure, left: float, foot: float, wide: float, tall: float) -> Axes:
    """Axes at a place in inches."""
    return fig.add_axes((left / PAGE, foot / HEIGHT, wide / PAGE, tall / HEIGHT))


def _colours() -> Colormap:
    """Dark where the loss is small, in steps of lightness that greyscale keeps."""
    import seaborn as sns

    return sns.color_palette("mako", as_cmap=True)


def shades(count: int) -> list[str]:
    """The colours of the loss as #rrggbb, from the smallest of LEVELS to the largest that the still shows."""
    top = LogNorm(LEVELS[0], LEVELS[-1])(RIM)
    return [to_hex(_colours()(top * i / (count - 1))) for i in range(count)]


def _shades() -> np.ndarray:
    """Levels of the filling: three between neighbours of LEVELS."""
    logs = np.log10(LEVELS)
    return 10 ** np.interp(np.arange(3 * len(logs) - 2) / 3, np.arange(len(logs)), logs)


def _panel(ax: Axes, rows: pd.DataFrame, x: np.ndarray, y: np.ndarray, loss: np.ndarray) -> QuadContourSet:
    norm = rows["norm"].iloc[0]
    x, y = x / norm, y / norm
    capped = np.clip(np.where(np.isfinite(loss), loss, LEVELS[-1] * 10), LEVELS[0] / 10, None)
    colours = LogNorm(LEVELS[0], LEVELS[-1])
    filled = ax.contourf(x, y, capped, levels=_shades(), norm=colours, cmap=_colours(), extend="both")
    inks = ["white" if level < 0.3 else "black" for level in LEVELS]  # on dark, on light
    lines = ax.contour(x, y, capped, LEVELS, colors=inks, linewidths=0.5, alpha=0.85)
    path = rows[rows["kind"] == "trajectory"].sort_values("epoch")
    px, py = path["x"] / norm, path["y"] / norm
    _label(ax, lines, px, py)
    ax.plot(px, py, "-o", color=PATH, markersize=2.6, linewidth=1.2, markeredgewidth=0)
    for at, marker, size in ((0, "s", 5), (-1, "*", 9)):
        look: dict[str, Any] = {
            "color": PATH,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
            "markersize": size,
        }
        ax.plot(px.iloc[at], py.iloc[at], marker, zorder=4, **look)
    ax.set(aspect="equal", xlim=(-HALF, HALF), ylim=(-HALF, HALF))
    ticks, said = (-1, -0.5, 0, 0.5, 1), ("−1", "−0.5", "0", "0.5", "1")
    ax.set_xticks(ticks, said)
    ax.set_yticks(ticks, said)
    ax.set_xlabel(f"PC 1 ({100 * rows['explained_x'].iloc[0]:.0f} % of variance)")
    ax.set_ylabel(f"PC 2 ({100 * rows['explained_y'].iloc[0]:.0f} %)")
    return filled


def _label(ax: Axes, lines: QuadContourSet, px: pd.Series, py: pd.Series) -> None:
    """The levels from LABELLED up, each where its line is furthest from the trajectory (px, py) and from the
    labels before; a line without room for one has none."""
    along = np.linspace(0, len(px) - 1, 20 * len(px))
    taken = np.column_stack([np.interp(along, np.arange(len(px)), p) for p in (px, py)])
    for level, line in zip(lines.levels, lines.get_paths(), strict=True):
        vertices = np.asarray(line.vertices)
        inside = vertices[(np.abs(vertices) < HALF - ROOM).all(axis=1)]
        if level < LABELLED or not len(inside):
            continue
        room = np.linalg.norm(inside[:, None] - taken, axis=2).min(axis=1)
        if room.max() > ROOM:
            at = inside[room.argmax()]
            ax.clabel(lines, [level], fmt="%g", fontsize=6, inline_spacing=2, manual=[at])
            taken = np.vstack([taken, at])


def _strip(ax: Axes, rows: pd.DataFrame) -> None:
    """Distance off the plane against the epoch, in ‖θT‖."""
    path = rows[rows["kind"] == "trajectory"].sort_values("epoch")
    off = path["off_plane"] / path["norm"]
    last = path["epoch"].max()
    ax.fill_between(path["epoch"], off, color=PATH, alpha=0.35, linewidth=0)
    ax.plot(path["epoch"], off, color=OFF, linewidth=0.9)
    ax.set(xlim=(0, last), ylim=(0, max(0.2, 1.1 * off.max())), yticks=(0, 0.2))
    ax.set_xticks((0, last), ("0", f"{last:g}"), fontsize=6)
    ax.set_xlabel("epoch", labelpad=1)
    ax.yaxis.tick_right()
    ax.spines["left"].set_visible(False)
    ax.spines["right"].set_visible(True)
    ax.set_yticks((0, 0.2), ("0", "0.2"), fontsize=6)
    ax.set_title("off plane", fontsize=6, loc="left", pad=2)


def _said(summary: pd.DataFrame) -> str:
    """A panel's numbers, means over seeds with standard deviations."""

    def mean(column: str, digits: int, factor: float = 1.0) -> str:
        values = factor * summary[column]
        return f"{values.mean():.{digits}f}{plus_minus(values.std(ddof=1), digits)}"

    basin, _ = _basin(summary)
    return (
        f"test accuracy, %\n{mean('accuracy', 1)}\nbasin\n{mean(basin, 3)}\n"
        f"roughness\n{mean('roughness', 3)}\nnon-convex, %\n{mean('non_convexity', 0, 100)}"
    )


def _basin(summary: pd.DataFrame) -> tuple[str, str]:
    """(column of the basin's area, its unit): filter by filter where every run was measured so, else in
    squares of ‖θT‖."""
    if len(summary) and summary["basin_by_filter"].notna().all():
        return "basin_by_filter", "squares that move a filter by its own norm (median)"
    return "basin_relative", f"‖{THETA_T}‖²"


def _describe(fig: Figure, measured: pd.DataFrame, summary: pd.DataFrame, scale: Scale) -> None:
    row = measured[measured["kind"] == "trajectory"].iloc[0]
    seeds = measured.loc[measured["kind"] == "surface", "seed"].nunique()
    spread = f"numbers: mean ± standard deviation of {seeds} seeds, contours: the first of them"
    between = f", in part interpolated (error {scale.surface_error:g})" if scale.surface_error else ""
    fig.suptitle(
        f"{row['network']} on {row['data']}, $s$ = {as_written(row['sparsity'])}, loss on "
        f"{row['images']:.0f} training images{between}; lengths in ‖{THETA_T}‖"
        + (f"\n{spread}" if seeds > 1 else "")
        + f"\nbasin: area within {WITHIN:g} nats of the minimum, in {_basin(summary)[1]}"
        "\nroughness: what a quadratic leaves in a 5×5 window; "
        "non-convex: points that curve down in some direction",
        fontsize=6.5,
        y=0.995,
    )
    look: dict[str, Any] = {"color": PATH, "markeredgecolor": PALE, "markeredgewidth": 0.4, "linestyle": ""}
    marks = [
        Line2D([], [], marker="s", markersize=5, label=f"start, {THETA0} {MASKED}", **look),
        Line2D([], [], marker="*", markersize=9, label=f"end, {THETA_T}", **look),
        Line2D([], [], marker="o", markersize=2.6, color=PATH, label="snapshots, projected"),
        Line2D([], [], color=OFF, linewidth=0.9, label="their distance off the plane"),
    ]
    fig.legend(handles=marks, loc="lower center", ncols=4)


def scene(measured: pd.DataFrame) -> list[dict[str, Any]]:
    """The surfaces as plain lists, for a viewer that turns them: one dict per run, in the order of the table.

    x, y: (points,) in ‖θT‖; loss: (y, x) nats, None where it is not finite; path: x, y, loss and epoch of the
    snapshots; about: panel, setting, lr, seed, accuracy.
    """
    found = []
    for rows, x, y, loss in grids(measured):
        norm = float(rows["norm"].iloc[0])
        path = rows[rows["kind"] == "trajectory"].sort_values("epoch")
        about = rows.iloc[0][["panel", "setting", "network", "data", "lr", "seed", "accuracy"]]
        found.append(
            {
                "about": {name: getattr(v, "item", lambda v=v: v)() for name, v in about.items()},
                "x": (x / norm).tolist(),
                "y": (y / norm).tolist(),
                "loss": [[v if np.isfinite(v) else None for v in line] for line in loss.tolist()],
                "path": {
                    "x": (path["x"] / norm).tolist(),
                    "y": (path["y"] / norm).tolist(),
                    "loss": path["loss"].tolist(),
                    "epoch": path["epoch"].tolist(),
                },
            }
        )
    return found


def still(measured: pd.DataFrame) -> Figure:
    """The four surfaces of the first seed in perspective, with the trajectory; height: log10 of the loss."""
    first = measured[measured["seed"] == measured["seed"].min()]
    with paper_style():
        fig = plt.figure(figsize=(PAGE, 4.9))
        for i, view in enumerate(scene(first)):
            ax = fig.add_subplot(2, 2, i + 1, projection="3d")
            loss = np.array(view["loss"], dtype=float)  # None is NaN
            # what is above the rim would hide the bowl
            height = np.log10(np.clip(np.where(loss < RIM, loss, np.nan), LEVELS[0], None))
            gx, gy = np.meshgrid(view["x"], view["y"])
            look: dict[str, Any] = {
                "cmap": _colours(),
                "linewidth": 0.1,
                "edgecolor": (1, 1, 1, 0.25),
                "antialiased": True,
            }
            limits = {"vmin": np.log10(LEVELS[0]), "vmax": np.log10(LEVELS[-1])}
            ax.plot_surface(gx, gy, height, rcount=60, ccount=60, alpha=0.9, **look, **limits)
            path = view["path"]
            lifted = np.log10(np.clip(path["loss"], LEVELS[0], RIM)) + 0.08
            ax.plot(path["x"], path["y"], lifted, "-o", color=PATH, markersize=2, linewidth=1.2, zorder=10)
            about = view["about"]
            ax.set_title(f"({about['panel']}) {about['setting'][3:]}, learning rate {about['lr']:g}", y=0.98)
            shown = [v for v in LEVELS[::2] if v <= RIM] + [RIM]
            ax.set_zticks(np.log10(shown), [f"{v:g}" for v in shown])
            ax.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1), xlabel="PC 1", ylabel="PC 2", zlabel="loss (nats)")
            ax.tick_params(pad=-2)
            ax.xaxis.labelpad = ax.yaxis.labelpad = ax.zaxis.labelpad = -6
            ax.view_init(elev=32, azim=-70)
            ax.set_box_aspect((1, 1, 0.55), zoom=1.0)
        row = first[first["kind"] != "missing"].head(1)
        if len(row):
            about = row.iloc[0]
            fig.suptitle(
                f"{about['network']} on {about['data']}, $s$ = {as_written(about['sparsity'])}, "
                f"seed {about['seed']}; lengths in ‖{THETA_T}‖, the loss below {RIM:g} nats",
                fontsize=6.5,
            )
    return fig
