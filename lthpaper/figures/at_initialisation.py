"""Masks at initialisation: accuracy against sparsity, each rule beside its own mask shuffled."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import PAGE, diverged_note, paper_style, percent, seeds_note, spread
from lthpaper.runs.masks import collapsed
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table as store_table
from lthpaper.verdicts import at_initialisation

LOOKS = {  # Okabe and Ito's colours
    "LT-IMP": ("#0072B2", "o"),
    "LT-OMP": ("#56B4E9", "^"),
    "LT-early": ("#CC79A7", "P"),
    "LT-magnitude": ("#D55E00", "s"),
    "LT-SNIP": ("#E69F00", "v"),
    "LT-GraSP": ("#999933", "<"),
    "LT-SynFlow": ("#009E73", ">"),
    "random-erk": ("#666666", "X"),
}


def trials(scale: Scale) -> list[Trial]:
    """All rules at the smallest and the largest of Figure 1's learning rates, at its sparsities."""
    rates = sorted({min(scale.learning_rates), max(scale.learning_rates)})
    recipe = scale.recipe_for(scale.data)
    return list(at_initialisation.at_initialisation(scale.task, recipe, rates, scale.panels, scale.seeds))


def measure(found: list[Trial], store: Store, scale: Scale, data_root: str | Path | None) -> pd.DataFrame:
    """The tidy table, and of each mask that the store has, how many layers it left nothing of."""
    table = store_table(found, store)
    empty = {t.run.digest: _collapsed(t, store) for t in found}
    return table.assign(collapsed=table["digest"].map(empty))


def _collapsed(trial: Trial, store: Store) -> float:
    if trial.run.mask is None or not store.has_weights(trial.run):
        return float("nan")
    return float(len(collapsed(store.weights(trial.run)[1] or {})))


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """A panel a learning rate; dashed and open: the same mask shuffled; a ring: a layer was emptied."""
    rates = sorted(table["lr"].unique())
    with paper_style():
        fig, axes = plt.subplots(
            1, len(rates), figsize=(PAGE, 3.2), sharex=True, squeeze=False, layout="constrained"
        )
        for ax, lr in zip(axes[0], rates, strict=True):
            panel(ax, table[table["lr"] == lr])
            ax.set_title(f"learning rate {lr:g}")
            ax.set_xlabel("sparsity")
        axes[0][0].set_ylabel("test accuracy (%)")
        fig.legend(handles=_legend(), loc="outside lower center", ncols=6)
        note = f"{table['network'].iloc[0]} on {table['data'].iloc[0]}, {table['epochs'].iloc[0]} epochs, "
        fig.suptitle(f"{note}{seeds_note(table)}{diverged_note(table)}", fontsize=8)
    return fig


def panel(ax: Axes, table: pd.DataFrame) -> Axes:
    """One learning rate."""
    dense = table.loc[table["setting"] == "pretraining", "accuracy"].mean()
    if np.isfinite(dense):
        ax.axhline(dense, color="#000000", linewidth=1)
    sparsities = sorted(s for s in table["sparsity"].unique() if s > 0)
    place = {s: i for i, s in enumerate(sparsities)}
    for i, (setting, (colour, marker)) in enumerate(LOOKS.items()):
        shift = (i - (len(LOOKS) - 1) / 2) * 0.07
        for name, mixed in ((setting, False), (setting.replace("LT-", "LT-shuffled-"), True)):
            if mixed and name == setting:
                continue
            rows = table[table["setting"] == name]
            cells = spread(rows, "sparsity").dropna(subset="mean") if len(rows) else rows
            x = [place[s] + shift + 0.02 * mixed for s in cells["sparsity"]]
            look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "--" if mixed else "-"}
            look |= {"markerfacecolor": "white"} if mixed else {}
            if x:
                spreads = cells["std"].fillna(0)
                ax.errorbar(x, cells["mean"], spreads, markersize=3, linewidth=0.9, elinewidth=0.6, **look)
            for s, mean in zip(cells["sparsity"], cells.get("mean", ()), strict=True):
                if (rows.loc[rows["sparsity"] == s, "collapsed"] > 0).any():
                    ring: dict[str, Any] = {
                        "markerfacecolor": "none",
                        "markeredgecolor": "#000000",
                        "markersize": 7,
                    }
                    ax.plot(place[s] + shift + 0.02 * mixed, mean, "o", **ring)
    ax.set_xticks(range(len(sparsities)), [percent(s) for s in sparsities])
    return ax


def _legend() -> list[Line2D]:
    marks = [Line2D([], [], color="#000000", label="pretraining")]
    marks += [
        Line2D([], [], color=colour, marker=marker, markersize=3, label=setting)
        for setting, (colour, marker) in LOOKS.items()
    ]
    look: dict[str, Any] = {"color": "#777777", "marker": "o", "markersize": 3, "markerfacecolor": "white"}
    marks.append(Line2D([], [], linestyle="--", label="its mask shuffled", **look))
    ring: dict[str, Any] = {
        "markerfacecolor": "none",
        "markeredgecolor": "#000000",
        "markersize": 7,
        "linestyle": "",
    }
    marks.append(Line2D([], [], marker="o", label="a layer was emptied", **ring))
    return marks


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """A row a learning rate and setting, a column a sparsity: mean ± standard deviation, emptied layers."""
    found = table[table["accuracy"].notna()]
    if found.empty:
        return pd.DataFrame()
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for (lr, setting, s), cell in found.groupby(["lr", "setting", "sparsity"], sort=False):
        std = cell["accuracy"].std(ddof=1)
        text = f"{cell['accuracy'].mean():.1f}" + (f" ± {std:.1f}" if np.isfinite(std) else "")
        if cell["collapsed"].max() > 0:
            text += f" ({cell['collapsed'].max():.0f} empty)"
        rows.setdefault((f"{lr:g}", setting), {})[percent(s) if s else "0"] = text
    names = pd.MultiIndex.from_tuples(rows, names=["lr", "setting"])
    return pd.DataFrame(list(rows.values()), index=names).fillna("–")


register(
    "at-initialisation",
    FigureSpec(
        "Masks at initialisation, early masks and their shuffles against sparsity",
        trials,
        plot,
        tabulate=tabulate,
        measure=measure,
        says=lambda table, scale: at_initialisation.seen(table).splitlines(),
    ),
)
