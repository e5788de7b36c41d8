"""Stability: the error barrier between siblings against the epoch that they part at (Frankle 2020)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lthpaper import data
from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.measures import stability
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store

STABLE = 2.0  # points of error: Frankle 2020 calls less than 2 % no barrier


def trials(scale: Scale) -> list[Trial]:
    """Pairs of siblings of the scale's pretraining at Figure 1's learning rates."""
    recipe = scale.recipe_for(scale.data)
    return list(stability.stability(scale.task, recipe, scale.learning_rates, scale.seeds))


def measure(found: list[Trial], store: Store, scale: Scale, data_root: str | Path | None) -> pd.DataFrame:
    """The barriers of the pairs that the store has (stability.BARRIERS)."""
    images = data.load(scale.data, data_root, scale.train_images)
    return stability.barriers(found, store, images)


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Mean barrier and standard deviation over seeds; one line a learning rate."""
    rates = sorted(table["lr"].unique())
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, max(len(rates), 1)))
    parts = sorted(table["k"].unique())
    with paper_style():
        fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), sharex=True, layout="constrained")
        for ax, part in zip(axes, ("test", "train"), strict=True):
            ax.axhspan(0, STABLE, color="#eeeeee", linewidth=0, zorder=0)
            for colour, lr in zip(colours, rates, strict=False):
                cells = table[table["lr"] == lr].groupby("k")[part].agg(["mean", "std"])
                x = [parts.index(k) for k in cells.index]
                spread = cells["std"].fillna(0)
                ax.errorbar(x, cells["mean"], spread, color=colour, marker="o", capsize=2, label=f"{lr:g}")
            ax.set_xticks(range(len(parts)), [str(k) for k in parts])
            ax.set_ylim(bottom=0)
            ax.set_xlabel("epoch k at which the siblings part")
            ax.set_ylabel(f"barrier of the {'training' if part == 'train' else 'test'} error (points)")
        if rates:
            axes[0].legend(title="learning rate")
        fig.suptitle(_note(table, scale), fontsize=8)
    return fig


def _note(table: pd.DataFrame, scale: Scale) -> str:
    about = f"{scale.network} on {scale.data}"
    if table.empty:
        return f"{about}: nothing has run yet"
    n = table.groupby(["lr", "k"]).size()
    count = f"{n.max()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    bars = "mean ± standard deviation" if n.max() > 1 else "one pair"
    words = f"{bars} over {count} seeds" if n.max() > 1 else bars
    return f"{about}, {table['epochs'].max()} epochs, {words}; grey: below {STABLE:g} points, stable"


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """A row a learning rate, a column an epoch k: barrier of the test error, mean ± standard deviation."""
    if table.empty:
        return pd.DataFrame()
    cells = table.groupby(["lr", "k"])["test"].agg(["mean", "std"]).reset_index()
    spread = [f" ± {s:.1f}" if np.isfinite(s) else "" for s in cells["std"]]
    cells["written"] = [f"{m:.1f}{s}" for m, s in zip(cells["mean"], spread, strict=True)]
    wide = cells.pivot_table(index="lr", columns="k", values="written", aggfunc="first")
    return wide.rename(index=lambda lr: f"{lr:g}", columns=lambda k: f"k = {k}").fillna("–")


register(
    "stability",
    FigureSpec(
        "Error barriers between siblings",
        trials,
        plot,
        tabulate=tabulate,
        measure=measure,
        says=lambda table, scale: stability.seen(table).splitlines(),
    ),
)
