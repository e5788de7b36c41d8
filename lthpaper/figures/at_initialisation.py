"""Masks at initialisation: accuracy against sparsity, each rule beside its own mask shuffled."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.axes import ACCURACY, accuracy_axis
from lthpaper.figures.curves import Case, level, offsets, points
from lthpaper.figures.means import accuracy_said, diverged_note, listed, seeds_note, spread, unfinished_note
from lthpaper.figures.sanity_panels import accuracies
from lthpaper.figures.style import PAGE, PALE, SHUFFLED, as_written, letters, paper_style, swatch
from lthpaper.runs import at_initialisation as runs_of
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store
from lthpaper.store.table import table as store_table
from lthpaper.verdicts import at_initialisation
from lthpaper.verdicts.cells import trained

RULES = (
    *("LT-IMP", "LT-OMP", "LT-early"),  # trained for, then the weights rewound
    *(f"LT-{name}" for name in runs_of.AT_THETA0),
    "random-erk",
)
trials = runs_of.of_scale
WORDS = (
    f"early: largest weights after {round(100 * runs_of.EARLY)} % of the epochs; "
    "erk: random places, layer shares by Erdős–Rényi"
)
DODGE = 0.86  # of a sparsity's place, which is 1 wide


def shuffled(rule: str) -> str:
    """The setting with this rule's mask, shuffled within layers."""
    return rule.replace("LT-", f"LT-{SHUFFLED}")


CASES = {s: Case(rule, hollow=s != rule) for rule in RULES for s in (rule, shuffled(rule))}


def measure(found: list[Trial], store: Store, scale: Scale, data_root: str | Path | None) -> pd.DataFrame:
    """The tidy table, and of each mask how many layers it left nothing of; NaN where the store has no such
    run, or an earlier version's without its counts by layer."""
    table = store_table(found, store)
    empty = {t.run.digest: _collapsed(t.run, store) for t in found}
    return table.assign(collapsed=table["digest"].map(empty))


def _collapsed(run: Run, store: Store) -> float:
    """From the counts by layer, which published results have too."""
    counts = store.layers(run) if run.mask is not None and run in store else {}
    return float(sum(count == 0 for count in counts.values())) if counts else float("nan")


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One panel per learning rate, each rule (filled) beside its own mask shuffled (open), at every sparsity.

    Starts at ordinary norms are in the table alone.
    """
    table = table[table["setting"].isin(["pretraining", *CASES])]
    rates = sorted(table["lr"].unique())
    with paper_style():
        size = (PAGE, 1.1 + 1.7 * len(rates))
        fig, axes = plt.subplots(len(rates), 1, figsize=size, sharex=True, squeeze=False)
        for letter, ax, lr in zip(letters(), axes[:, 0], rates, strict=False):
            panel(ax, table[table["lr"] == lr])
            ax.set_title(f"({letter}) learning rate {lr:g}")
            ax.set_ylabel(ACCURACY)
        axes[-1, 0].set_xlabel("sparsity")
        fig.legend(handles=_legend(table), loc="outside lower center", ncols=5)
        about, said = table.iloc[0], seeds_note(table[table["accuracy"].notna()])
        note = f"{about['network']} on {about['data']}, {about['epochs']} epochs, {said}"
        notes = listed(note, diverged_note(table), unfinished_note(table))
        fig.suptitle(f"{notes}\n{WORDS}", fontsize=6.5)
    return fig


def panel(ax: Axes, table: pd.DataFrame) -> Axes:
    """One learning rate. Pretraining is a level; a ring stands around a mask that left a layer nothing."""
    level(ax, table)
    cases = {setting: case for setting, case in CASES.items() if setting in set(table["setting"])}
    masked = table[table["sparsity"] > 0].assign(case=lambda rows: rows["setting"])
    if limits := accuracies(table):
        points(ax, masked, "sparsity", cases, DODGE, size=4.4)
        accuracy_axis(ax, *limits)
    else:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center", color=PALE)
        ax.set_yticks([])
    sparsities, places = sorted(masked["sparsity"].unique()), offsets(cases, DODGE)
    emptied = spread(masked[masked["collapsed"] > 0], ["sparsity", "setting"]).dropna(subset="mean")
    for cell in emptied.itertuples():
        ax.plot(sparsities.index(cell.sparsity) + places[cell.setting], cell.mean, **RING)
    ax.set_xticks(range(len(sparsities)), [as_written(s) for s in sparsities])
    ax.set(xlim=(-0.5, len(sparsities) - 0.5), xlabel="", ylabel="")
    ax.tick_params(axis="x", length=0)
    return ax


RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 0.6,
    "linestyle": "",
    "zorder": 5,
}


def _legend(table: pd.DataFrame) -> list[Line2D]:
    """One mark per rule; what open marks and rings are, if there are any."""
    marks = [
        swatch("pretraining", marker="", label="pretraining (mean)"),
        *(swatch(rule, RULES, linestyle="", markersize=5) for rule in RULES),
    ]
    look: dict[str, Any] = {"color": PALE, "marker": "o", "markerfacecolor": "white", "markeredgewidth": 0.8}
    marks.append(Line2D([], [], linestyle="", label="open: its mask shuffled", **look))
    if (table["collapsed"] > 0).any():
        marks.append(Line2D([], [], label="a layer was emptied", **RING))
    return marks


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows: learning rates and settings; columns: sparsities. Mean ± standard deviation, emptied layers."""
    found = table[trained(table)]
    if found.empty:
        return pd.DataFrame()
    cells = found.groupby(["lr", "setting", "sparsity"], sort=False)
    most = cells.size().max()
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for (lr, setting, s), cell in cells:
        text = accuracy_said(cell["accuracy"], most)
        if cell["collapsed"].max() > 0:
            text += f" ({cell['collapsed'].max():.0f} empty)"
        rows.setdefault((f"{lr:g}", setting), {})[as_written(s) if s else "0"] = text
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
