"""Figure 6: do a trained network's large weights lie where θ0's did? R_p against learning rate.

θT is the pretrained network's (the figure's caption: "weights in subnetwork and pretrained network"),
m the mask of IMP at s = 0.832, and θ0′ an independent draw.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import COLOURS, CROSS, MARKERS, PAGE, crosses, paper_style, percent, spread
from lthpaper.measures.correlation import chance_band, overlap, overlap_by_layer, overlap_within_layers
from lthpaper.paper import FIGURE6
from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import (
    Trial,
    imp_sparsity,
    lt_imp,
    mask_diverged,
    pretraining,
    random_reinit,
    reader,
)
from lthpaper.store.store import Result, Store
from lthpaper.training.pack import Weights
from lthpaper.training.start import initial_weights

ROUNDS, MAIN = FIGURE6.rounds, FIGURE6.share  # s = 0.832, p = 0.1
SHARES = (MAIN / 2, MAIN, 2 * MAIN)
PAIRS = ("θ0, θT", "θ0′, θT")
LOOKS = dict(zip(PAIRS, ("LT-IMP", "RR-IMP"), strict=True))  # the settings that start from these weights
WITHIN, TOGETHER = "within layers", "layers together"
COLUMNS = [
    *("network", "data", "sparsity", "lr", "seed", "pair", "p", "pooled", "layer", "depth"),
    *("overlap", "low", "high", "survivors", "digest"),
]


def trials(scale: Scale) -> list[Trial]:
    """Pretraining and the IMP mask at every learning rate: a residual network and a VGG."""
    tasks = [scale.task.with_(network=name) for name in scale.correlation_networks]
    dense = [
        pretraining(task, scale.recipe.with_(lr=lr), seed)
        for task in tasks
        for lr in scale.grid_for(scale.data)
        for seed in range(scale.seeds)
    ]
    return [Trial("LT-IMP", imp_sparsity(ROUNDS), lt_imp(run, ROUNDS)) for run in dense]


def measure(
    trials: Iterable[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """One row a run, pair of weights, p and way of pooling, in the columns COLUMNS.

    pooled "within layers": the top p of each layer, counts summed (claim 10 reads this); "layers
    together": all positions ranked at once; "": one layer by itself, `layer` its name and `depth` its
    place. low, high: the band that holds 95 % of R_p by chance (NaN for "layers together", whose null is
    not known). overlap is NaN for runs that are not there, and where a run that θT or the mask comes
    from diverged; survivors is NaN in the first case only.
    """
    results = reader(store)
    rows = [row for trial in trials for row in _rows(trial, store, results)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(trial: Trial, store: Store, results: Callable[[Run], Result | None]) -> Iterator[dict[str, object]]:
    run = trial.run
    dense = run.with_(mask=None)
    about = {
        "network": run.task.network,
        "data": run.task.data,
        "sparsity": trial.sparsity,
        "lr": run.recipe.lr,
        "seed": run.seed,
        "digest": run.digest,
    }
    if not (store.has_weights(run) and store.has_weights(dense)):
        for pair in PAIRS:
            yield about | {"pair": pair, "p": MAIN, "pooled": WITHIN}
        return
    if mask_diverged(run, results):
        for pair, p in itertools.product(PAIRS, SHARES):
            yield about | {"pair": pair, "p": p, "pooled": WITHIN, "survivors": results(run).kept}
        return
    trained, mask = store.weights(dense)[0], store.weights(run)[1]
    for pair, start in zip(PAIRS, (dense, random_reinit(dense)), strict=True):
        for p in SHARES:
            for row in _overlaps(initial_weights(start), trained, mask, p, run.task.prunable_weights):
                yield about | {"pair": pair, "p": p} | row


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


def plot(measured: pd.DataFrame, scale: Scale) -> Figure:
    """A row a network: R_p against learning rate with the chance band, for each p, and by layer."""
    names = list(measured["network"].unique())
    with paper_style():
        fig, axes = plt.subplots(
            len(names),
            len(SHARES) + 1,
            figsize=(PAGE, 2.2 * len(names) + 0.5),
            squeeze=False,
            layout="constrained",
            width_ratios=[1] * len(SHARES) + [1.5],
        )
        for row, (line, name) in enumerate(zip(axes, names, strict=True)):
            of_network = measured[measured["network"] == name]
            for ax, p in zip(line, SHARES, strict=False):
                _against_rate(ax, of_network[(of_network["pooled"] == WITHIN) & (of_network["p"] == p)], p)
                ax.set_title(f"({'abcdefgh'[row * 4 + SHARES.index(p)]}) p = {p:g}")
            line[0].set_ylabel(f"{name}: R_p")
            lost = of_network.loc[_diverged(of_network), "lr"]
            by_layer = of_network[(of_network["layer"].notna()) & (of_network["p"] == MAIN)]
            by_layer = by_layer[~by_layer["lr"].isin(lost)]
            _by_layer(fig, line[-1], by_layer[by_layer["pair"] == PAIRS[0]])
            line[-1].set_title(f"({'abcdefgh'[row * 4 + 3]}) by layer, p = {MAIN:g}")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=4)
        seeds = measured["seed"].nunique()
        note = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
        if _diverged(measured).any():
            note += f"; {CROSS}"
        fig.suptitle(
            "Do θ0 ⊙ m and the pretrained θT ⊙ m agree which weights of a layer are large?\n"
            f"{measured['data'].iloc[0]}, s = {percent(measured['sparsity'].iloc[0])}, {note}",
            fontsize=8,
        )
    return fig


def _diverged(measured: pd.DataFrame) -> pd.Series:
    """The rows of runs that are there, but of which there is no R_p."""
    return measured["survivors"].notna() & measured["overlap"].isna()


def _against_rate(ax: Axes, table: pd.DataFrame, p: float) -> Axes:
    for pair, setting in LOOKS.items():
        there = table[(table["pair"] == pair) & table["survivors"].notna()]
        cells = spread(there, "lr", "overlap")
        shown = cells.dropna(subset="mean")
        look = {"color": COLOURS[setting], "marker": MARKERS[setting]}
        ax.errorbar(
            shown["lr"], shown["mean"], yerr=shown["std"].fillna(0), capsize=2, elinewidth=0.8, **look
        )
        crosses(ax, cells.loc[cells["diverged"], "lr"], setting)
    band = table.dropna(subset="low").groupby("lr")[["low", "high"]].mean()
    ax.fill_between(band.index, band["low"], band["high"], color="#bbbbbb", alpha=0.5, linewidth=0)
    ax.axhline(p, color="#777777", linewidth=0.8, linestyle="--")
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylim(0, max(0.5, *ax.get_ylim()))
    return ax


def _by_layer(fig: Figure, ax: Axes, table: pd.DataFrame) -> Axes:
    square = table.pivot_table(index="depth", columns="lr", values="overlap")
    ax.grid(visible=False)
    if square.empty:
        ax.text(0.5, 0.5, "not trained yet, or diverged", ha="center", transform=ax.transAxes)
        return ax
    norm = TwoSlopeNorm(MAIN, 0, max(1.0, np.nanmax(square.to_numpy())))
    shown = ax.imshow(square, aspect="auto", cmap="PuOr_r", norm=norm, interpolation="nearest")
    ax.set_xticks(range(square.shape[1]), [f"{lr:g}" for lr in square.columns], rotation=60)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("prunable layer")
    fig.colorbar(shown, ax=ax, label="R_p(θ0 ⊙ m, θT ⊙ m)", ticks=[0, MAIN, 0.5, 1])
    return ax


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], color=COLOURS[s], marker=MARKERS[s], label=f"R_p({pair.replace(',', ' ⊙ m,')} ⊙ m)")
        for pair, s in LOOKS.items()
    ]
    return [
        *marks,
        Line2D([], [], color="#777777", linestyle="--", linewidth=0.8, label="p"),
        Line2D([], [], color="#bbbbbb", linewidth=6, alpha=0.5, label="95 % of chance"),
    ]


register(
    "fig6",
    FigureSpec("Where large weights lie, before and after training (R_p)", trials, plot, measure=measure),
)
