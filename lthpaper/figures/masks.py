"""Masks: what each layer keeps, how large the weights are that are kept, and where in a layer they lie.

A magnitude mask keeps large θ0, so LT starts with a larger norm than RR; under batch-norm a larger norm is
a smaller effective learning rate. A mask of the same sparsity drawn at random over all layers keeps 1 − s
of each, one shuffled within layers keeps what its mask keeps; either has a ratio of norms of about 1.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mode
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register, style
from lthpaper.figures.means import NOTHING, counted
from lthpaper.figures.style import (
    COLOURS,
    MARKERS,
    MASKED,
    PAGE,
    PALE,
    THETA0,
    THETA0_NEW,
    as_written,
    letters,
    paper_style,
)
from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial, random_reinit, sanity_check
from lthpaper.store.store import Store
from lthpaper.store.table import described, mask_diverged, reader
from lthpaper.training.start import initial_weights

SETTINGS = ("LT-IMP", "LT-OMP")
LAYER, CHANNELS = "layer", "channels"
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)  # of shares
DASHED: dict[str, Any] = {"color": PALE, "linewidth": 0.8, "linestyle": (0, (3, 2))}
ABSENT: dict[str, Any] = {"color": PALE, "fontsize": 6}
COLUMNS = [
    *("kind", "setting", "network", "data", "sparsity", "lr", "seed", "layer", "depth", "weights", "kept"),
    *("norm_ratio", "output", "input", "digest"),
]


def trials(scale: Scale) -> list[Trial]:
    """IMP's and OMP's masks at Figure 1's learning rates and the middle one of the scale's sparsities."""
    return trials_at(scale, middle(scale))


def middle(scale: Scale) -> int:
    """The middle one of the scale's IMP rounds."""
    return sorted(scale.rounds)[len(scale.rounds) // 2]


def trials_at(scale: Scale, k: int) -> list[Trial]:
    """The same after k IMP rounds."""
    return list(sanity_check(scale.task, scale.recipe, scale.learning_rates, (k,), scale.seeds, SETTINGS))


def measure(
    trials: Iterable[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """Long-form, in the columns COLUMNS. kind "layer": a layer of a run; kept: the share of its weights that
    the mask keeps, norm_ratio: ‖θ0⊙m‖ / ‖θ0′⊙m‖. "channels": of the layer that loses most by number, the
    share kept between an input and an output channel, of the seed with the most masks (the smallest of
    several). "missing": no such run, or it diverged.

    Masks are the store's or published ones (`Store.mask`); θ0 and θ0′ are made from the seed. Of a run whose
    mask is neither here nor published only the counts by layer are known: its norm_ratio is NaN, and it has
    no channels.
    """
    results = reader(store)
    rows: list[dict[str, object]] = []
    masked: list[tuple[Run, dict[str, object]]] = []
    for trial in trials:
        run = trial.run
        about = described(run) | {"setting": trial.setting, "sparsity": trial.sparsity}
        found: list[dict[str, object]] = []
        if run in store and not mask_diverged(run, results):
            mask = store.mask(run)
            found = list(_layers(run, store.layers(run), mask))
            masked += [] if mask is None else [(run, about)]
        rows += [about | row for row in found or [{"kind": "missing"}]]
    shown = mode(sorted(run.seed for run, _ in masked)) if masked else None
    for run, about in masked:
        if run.seed == shown and (mask := store.mask(run)) is not None:
            rows += [about | row for row in _by_channel(run, mask)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _layers(run: Run, counts: dict[str, int], mask: Mask | None) -> Iterator[dict[str, object]]:
    """counts: weights kept by layer; {}: unknown."""
    sizes = {name: size for name, size in run.task.prunable_weights.items() if name in counts}
    starts = [] if mask is None else [initial_weights(run), initial_weights(random_reinit(run))]
    for depth, (name, size) in enumerate(sizes.items()):
        norms = [float((w[name].double() * mask[name]).norm()) for w in starts] if mask else []
        ratio = norms[0] / norms[1] if norms and norms[1] else math.nan
        row = {"kind": LAYER, "layer": name, "depth": depth, "weights": size}
        yield row | {"kept": counts[name] / size, "norm_ratio": ratio}


def _by_channel(run: Run, mask: Mask) -> Iterator[dict[str, object]]:
    name, _ = max(run.task.prunable_weights.items(), key=lambda layer: layer[1])
    shares = mask[name].double().flatten(2).mean(-1) if mask[name].ndim > 2 else mask[name].double()
    for output, line in enumerate(shares.tolist()):
        for channel, share in enumerate(line):
            row = {"kind": CHANNELS, "layer": name, "output": output, "input": channel, "kept": share}
            yield row


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """One column per learning rate: what layers keep, the ratio of norms; below, one layer channel by
    channel. Without the masks themselves there is what layers keep."""
    rates = sorted(measured["lr"].unique())
    layers, channels = measured[measured["kind"] == LAYER], measured[measured["kind"] == CHANNELS]
    values = ["kept", "norm_ratio"] if layers["norm_ratio"].notna().any() else ["kept"]
    with paper_style():
        fig = plt.figure(figsize=(PAGE, 1.5 + 1.3 * len(values) + 2.1 * (len(channels) > 0)))
        above = fig
        if len(channels):
            above, below = np.asarray(fig.subfigures(2, 1, height_ratios=(1.75, 1)))
            _channels(below, channels)
        axes = above.subplots(len(values), len(rates), sharex=True, sharey="row", squeeze=False)
        for letter, column, lr in zip(letters(), axes.T, rates, strict=False):
            of_rate = layers[layers["lr"] == lr]
            for ax, value in zip(column, values, strict=True):
                _by_layer(ax, of_rate.dropna(subset=[value]), value)
                level = 1 - measured["sparsity"].iloc[0] if value == "kept" else 1
                ax.axhline(level, **DASHED)
            column[0].set_title(f"({letter}) learning rate {lr:g}")
        if len(layers):
            axes[0][0].set_yscale("log")
            ticks = [t for t in TICKS if t >= 0.7 * layers["kept"].min()]
            axes[0][0].set_yticks(ticks, [f"{t:g}" for t in ticks])
            axes[0][0].minorticks_off()
        named = layers.drop_duplicates("depth").sort_values("depth")["layer"]
        names = [name.removesuffix(".weight") for name in named]
        for ax in axes[-1]:
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
            ax.set_xlim(-0.7, max(len(names), 1) - 0.3)
        labels = {"kept": "share kept", "norm_ratio": f"‖{THETA0}{MASKED}‖ / ‖{THETA0_NEW}{MASKED}‖"}
        for ax, value in zip(axes[:, 0], values, strict=True):
            ax.set_ylabel(labels[value])
        above.suptitle(_note(measured, layers), fontsize=6.5)
        marks = [style.swatch(s, label=f"{s[3:]} mask", linestyle="") for s in SETTINGS]
        marks.append(Line2D([], [], label="random over all layers", **DASHED))
        above.legend(handles=marks, loc="outside lower center", ncols=3)
    return fig


def _note(measured: pd.DataFrame, layers: pd.DataFrame) -> str:
    """Network, data, sparsity; n, also of the norms if they have fewer; how many runs are missing."""
    about, shares, norms = measured.iloc[0], _seeds(layers), _seeds(layers.dropna(subset=["norm_ratio"]))
    note = f"{about['network']} on {about['data']}, $s$ = {as_written(about['sparsity'])}"
    if layers.empty:
        return f"{note}, {NOTHING}"
    if missing := (measured["kind"] == "missing").sum():
        note += f"; {missing} of {measured['digest'].nunique()} runs are missing or diverged"
    fewer = f", norms: {norms}" if norms not in (NOTHING, shares) else ""
    several = f"mean ± standard deviation of {shares}{fewer} (no bar: shorter than its mark)"
    return f"{note}\n{f'one seed{fewer}' if shares == 'one seed' else several}"


def _seeds(layers: pd.DataFrame) -> str:
    """n in words, over settings and learning rates."""
    return counted(layers.groupby(["setting", "lr"])["seed"].nunique())


def _by_layer(ax: Axes, rows: pd.DataFrame, value: str) -> None:
    import seaborn as sns

    ax.grid(visible=False, axis="x")
    absent = [s[3:] for s in SETTINGS if s not in set(rows["setting"])]
    # where fewest points lie: the first layers lose least; shares may be known without the mask
    what, y, va = {"kept": ("run", 0.04, "bottom"), "norm_ratio": ("mask", 0.96, "top")}[value]
    if absent:
        ax.text(0.03, y, f"no {what} of {' or '.join(absent)}", va=va, transform=ax.transAxes, **ABSENT)
    if rows.empty:
        return
    sns.pointplot(
        rows,
        x="depth",
        y=value,
        hue="setting",
        hue_order=SETTINGS,
        palette={s: COLOURS[s] for s in SETTINGS},
        markers=[MARKERS[s] for s in SETTINGS],
        errorbar="sd",
        err_kws={"linewidth": 0.7},
        dodge=0.3,
        linestyle="none",  # the order of layers has no measure
        markersize=3.6,
        legend=False,
        ax=ax,
    )
    ax.set(xlabel="", ylabel="")


def _channels(fig: Figure, rows: pd.DataFrame) -> None:
    """The masks of one layer at the smallest and the largest learning rate, channel by channel."""
    rates = sorted(rows["lr"].unique())
    shown = [(s, lr) for lr in dict.fromkeys([*rates[:1], *rates[-1:]]) for s in SETTINGS]
    axes = fig.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    image = None
    for ax, (setting, lr) in zip(axes, shown, strict=True):
        part = rows[(rows["setting"] == setting) & (rows["lr"] == lr)]
        ax.grid(visible=False)
        ax.set_title(f"{setting[3:]}, lr {lr:g}")
        ax.set_xlabel("input channel")
        if part.empty:
            ax.text(0.5, 0.5, "no mask", ha="center", va="center", transform=ax.transAxes, **ABSENT)
            continue
        square = part.pivot(index="output", columns="input", values="kept")
        image = ax.imshow(square, cmap="Greys", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes[0].set_ylabel("output channel")
    if image is not None:
        fig.colorbar(image, ax=list(axes), label="share kept", aspect=12, pad=0.01)
    name = rows["layer"].iloc[0].removesuffix(".weight")
    fig.suptitle(f"the largest layer, {name}, seed {rows['seed'].iloc[0]}", fontsize=6.5)


def says(measured: pd.DataFrame, scale: Scale) -> list[str]:
    """Which layers a mask thins out most and least, and the ratio of norms where it is known."""
    said = []
    for setting, rows in measured[measured["kind"] == LAYER].groupby("setting"):
        means = rows.groupby("layer")[["kept", "norm_ratio"]].mean()
        kept, ratios = 100 * means["kept"], means["norm_ratio"].dropna()
        norms = f"; θ0 has {ratios.min():.2f} to {ratios.max():.2f} times the norm of θ0′ there"
        said.append(
            f"{setting[3:]}'s masks keep from {kept.min():.0f} % of {kept.idxmin()} to {kept.max():.0f} % of "
            f"{kept.idxmax()}{norms if len(ratios) else ''} (means over learning rates and seeds)."
        )
    return said


register(
    "masks",
    FigureSpec("Masks by layer: shares", trials, plot, measure=measure, says=says),
)
