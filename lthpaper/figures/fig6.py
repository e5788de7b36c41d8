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
from matplotlib.patches import Patch

from lthpaper.figures import FigureSpec, register, style
from lthpaper.figures.style import (
    COLOURS,
    CROSS,
    MARKERS,
    MASKED,
    PAGE,
    PALE,
    R_P,
    THETA0,
    THETA0_NEW,
    THETA_T,
    paper_style,
    percent,
)
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
CHANCE = "#D9D9D9"
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
        fig = plt.figure(figsize=(PAGE, 1.0 + 1.75 * len(names)))
        grid = fig.add_gridspec(len(names), len(SHARES) + 1, width_ratios=[1] * len(SHARES) + [1.25])
        for row, name in enumerate(names):
            of_network = measured[measured["network"] == name]
            line: list[Axes] = []
            for p in SHARES:
                line.append(fig.add_subplot(grid[row, len(line)], sharey=line[0] if line else None))
                of_share = of_network[(of_network["pooled"] == WITHIN) & (of_network["p"] == p)]
                _against_rate(line[-1], of_share, p, of_network["lr"])
                line[-1].set_title(f"({'abcdefgh'[row * 4 + SHARES.index(p)]}) $p$ = {p:g}")
                line[-1].tick_params(labelleft=len(line) == 1)
            line[0].set_ylabel(f"{name}: {R_P}")
            lost = of_network.loc[_diverged(of_network), "lr"]
            by_layer = of_network[(of_network["layer"].notna()) & (of_network["p"] == MAIN)]
            by_layer = by_layer[~by_layer["lr"].isin(lost)]
            heat = fig.add_subplot(grid[row, -1])
            _by_layer(fig, heat, by_layer[by_layer["pair"] == PAIRS[0]])
            heat.set_title(f"({'abcdefgh'[row * 4 + 3]}) by layer, $p$ = {MAIN:g}")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=4)
        n = measured[measured["overlap"].notna()].groupby(["network", "lr"])["seed"].nunique()
        seeds = int(n.max()) if len(n) else 0
        note = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
        if _diverged(measured).any():
            note += f"; {CROSS}"
        fig.suptitle(
            f"Do {THETA0} {MASKED} and the pretrained {THETA_T} {MASKED} agree which weights of a layer are "
            f"large? {measured['data'].iloc[0]}, $s$ = {percent(measured['sparsity'].iloc[0])}\n{note}",
            fontsize=6.5,
        )
    return fig


def _diverged(measured: pd.DataFrame) -> pd.Series:
    """The rows of runs that are there, but of which there is no R_p."""
    return measured["survivors"].notna() & measured["overlap"].isna()


def _against_rate(ax: Axes, table: pd.DataFrame, p: float, rates: Iterable[float]) -> None:
    import seaborn as sns

    shown = table[table["overlap"].notna()]
    lost = {pair: set(of.loc[_diverged(of), "lr"]) for pair, of in table.groupby("pair")}
    shown = shown[[lr not in lost[pair] for pair, lr in zip(shown["pair"], shown["lr"], strict=True)]]
    for pair, setting in LOOKS.items():
        style.crosses(ax, sorted(lost.get(pair, ())), setting)
    if len(shown):
        sns.lineplot(
            shown,
            x="lr",
            y="overlap",
            hue="pair",
            style="pair",
            hue_order=PAIRS,
            style_order=PAIRS,
            palette={pair: COLOURS[s] for pair, s in LOOKS.items()},
            markers={pair: MARKERS[s] for pair, s in LOOKS.items()},
            dashes=False,
            errorbar="sd",
            err_style="bars",
            err_kws={"capsize": 1.5, "elinewidth": 0.7},
            legend=False,
            ax=ax,
        )
    band = table.dropna(subset="low").groupby("lr")[["low", "high"]].mean()
    if len(band):
        ax.fill_between(band.index, band["low"], band["high"], color=CHANCE, linewidth=0, zorder=0)
    ax.axhline(p, color=PALE, linewidth=0.8, linestyle="--")
    style.rate_axis(ax, rates)
    ax.set(xlabel="learning rate", ylabel="", ylim=(0, 1), yticks=(0, 0.25, 0.5, 0.75, 1))


def _by_layer(fig: Figure, ax: Axes, table: pd.DataFrame) -> Axes:
    square = table.pivot_table(index="depth", columns="lr", values="overlap")
    ax.grid(visible=False)
    if square.empty:
        ax.text(0.5, 0.5, "not trained yet,\nor diverged", ha="center", va="center", transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        return ax
    norm = TwoSlopeNorm(MAIN, 0, max(1.0, np.nanmax(square.to_numpy())))
    shown = ax.imshow(square, aspect="auto", cmap="PuOr_r", norm=norm, interpolation="nearest")
    named = table.drop_duplicates("depth").set_index("depth")["layer"].reindex(square.index)
    every = -(-len(named) // 14)
    ax.set_yticks(
        range(0, len(named), every), [n.removesuffix(".weight") for n in named[::every]], fontsize=6
    )
    ax.set_xticks(range(square.shape[1]), [f"{lr:g}" for lr in square.columns], rotation=90)
    ax.tick_params(length=0)
    ax.set_xlabel("learning rate")
    bar = fig.colorbar(shown, ax=ax, ticks=[0, MAIN, 0.5, 1], pad=0.02, aspect=14)
    bar.set_label(R_P)
    return ax


def _legend() -> list[Line2D | Patch]:
    names = {PAIRS[0]: THETA0, PAIRS[1]: THETA0_NEW}
    marks: list[Line2D | Patch] = [
        style.swatch(s, linestyle="-", label=f"{R_P}({names[pair]} {MASKED}, {THETA_T} {MASKED})")
        for pair, s in LOOKS.items()
    ]
    dashed = Line2D([], [], color=PALE, linestyle="--", linewidth=0.8, label="$p$")
    return [*marks, dashed, Patch(color=CHANCE, label="95 % of chance")]


register(
    "fig6",
    FigureSpec("Where large weights lie, before and after training (R_p)", trials, plot, measure=measure),
)
