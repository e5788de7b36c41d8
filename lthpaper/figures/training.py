"""Training curves: loss and test accuracy by epoch, every setting, one column per learning rate."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lthpaper.figures import FigureSpec, register, style
from lthpaper.figures.axes import ACCURACY, accuracy_axis
from lthpaper.figures.means import NOTHING, counted
from lthpaper.figures.style import PAGE, PALE, as_written, letters, paper_style
from lthpaper.runs import convergence, experiments
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import SETTINGS, Trial, sanity_check
from lthpaper.store.store import Store
from lthpaper.store.table import described, mask_diverged, reader
from lthpaper.verdicts.cells import unconverged

DRAWN = {"train_loss": "training loss (nats)", "test_accuracy": ACCURACY}
COLUMNS = ["setting", "network", "data", "lr", "sparsity", "seed", "epoch", *DRAWN, "digest"]


def trials(scale: Scale) -> list[Trial]:
    """Figure 1's network and learning rates, at the sparsity of Figure 3's panel."""
    k = experiments.shown_rounds(scale.task, scale)
    return list(sanity_check(scale.task, scale.recipe, scale.learning_rates, (k,), scale.seeds))


def measure(
    trials: Iterable[Trial], store: Store, scale: Scale, data_root: str | Path | None = None
) -> pd.DataFrame:
    """One row per run and epoch, in the columns COLUMNS; test_accuracy is NaN at an epoch without a test. A
    run that is not there, that diverged or whose mask's did, has one row without an epoch."""
    results, frames = reader(store), []
    for trial in trials:
        run, result = trial.run, results(trial.run)
        about = described(run) | {"setting": trial.setting, "sparsity": trial.sparsity}
        if result is None or result.accuracy != result.accuracy or mask_diverged(run, results):
            frames.append(pd.DataFrame([about]))
            continue
        curves = {name: result.curves[name] for name in DRAWN}
        epochs = range(run.first_epoch + 1, run.first_epoch + 1 + len(curves["train_loss"]))
        frames.append(pd.DataFrame(curves).assign(epoch=list(epochs), **about))
    return pd.concat(frames, ignore_index=True).reindex(columns=COLUMNS)


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Mean over seeds with a band of one standard deviation."""
    import seaborn as sns

    there = table.dropna(subset="epoch")
    rates = sorted(table["lr"].unique())
    with paper_style():
        fig, axes = plt.subplots(2, len(rates), figsize=(PAGE, 3.6), sharex=True, sharey="row", squeeze=False)
        if len(there):
            axes[0][0].set_yscale("log")  # before drawing: means and bands are then geometric, above 0
        for (name, label), line in zip(DRAWN.items(), axes, strict=True):
            for ax, lr in zip(line, rates, strict=True):
                rows = there[there["lr"] == lr].dropna(subset=name)
                if rows.empty:
                    ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center", color=PALE)
                    continue
                sns.lineplot(
                    rows,
                    x="epoch",
                    y=name,
                    hue="setting",
                    style="setting",
                    hue_order=SETTINGS,
                    style_order=SETTINGS,
                    palette=style.COLOURS,
                    dashes={s: style.DASHES.get(s, "") for s in SETTINGS},
                    errorbar="sd",
                    err_kws={"alpha": 0.15, "linewidth": 0},
                    linewidth=0.9,
                    legend=False,
                    ax=ax,
                )
                ax.set(xlabel="", ylabel="")
            line[0].set_ylabel(label)
        if len(there):
            accuracy_axis(axes[1][0], there["test_accuracy"].min(), there["test_accuracy"].max())
            axes[0][0].yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        for letter, ax, lr in zip(letters(), axes[0], rates, strict=False):
            ax.set_title(f"({letter}) learning rate {lr:g}")
        for ax in axes[1]:
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        fig.suptitle(_title(table, there), fontsize=6.5)
        marks = [style.swatch(s, marker="") for s in SETTINGS]
        fig.legend(handles=marks, loc="outside lower center", ncols=6)
    return fig


def _title(table: pd.DataFrame, there: pd.DataFrame) -> str:
    about = table.iloc[0]
    words = f"{about['network']} on {about['data']}, $s$ = {as_written(table['sparsity'].max())}, "
    n = counted(there.groupby(["setting", "lr"])["seed"].nunique())
    if n in ("one seed", NOTHING):
        return words + n
    return words + f"line and band: mean ± standard deviation of {n} (of the loss, geometric)"


def says(table: pd.DataFrame, scale: Scale) -> list[str]:
    """At which learning rates pretraining has converged, which ① asks, in the mean over seeds."""
    there = table[(table["setting"] == "pretraining") & table["epoch"].notna()].sort_values("epoch")
    if there.empty:
        return []
    losses = there.groupby(["lr", "seed"])["train_loss"].agg(list).items()
    left = unconverged(
        pd.DataFrame(
            {
                "setting": "pretraining",
                "lr": lr,
                "loss_left": convergence.loss_left(loss),
                "loss_falling": convergence.loss_falling(loss, scale.recipe),
            }
            for (lr, _), loss in losses
        )
    )
    yes = ", ".join(f"{lr:g}" for lr in sorted(set(there["lr"]) - set(left))) or "no learning rate"
    no = ", ".join(f"{lr:g} ({100 * share:.0f} % of its training loss is left)" for lr, share in left.items())
    return [f"Pretraining has converged, as ① asks, at {yes}{f', not at {no}' if no else ''}."]


register("training", FigureSpec("Training curves of every setting", trials, plot, measure=measure, says=says))
